"""What an operator may say about reading NVIDIA GPUs."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from collectors.schedule import ScrapeConfig


class NvmlConfig(ScrapeConfig):
    """The section of an `nvml` collector."""

    gpu_deadline_seconds: float = Field(5.0, gt=0, le=600, description="a GPU that takes longer is left out")
    expect_gpus: int = Field(0, ge=0, le=64, description="fewer GPUs, or no driver, is then a failure")
    nvlink_links: int = Field(18, ge=0, le=64, description="highest number of NVLink links asked for; 0 asks none")

    @model_validator(mode="after")
    def _gpus_end_first(self) -> Self:
        if self.gpu_deadline_seconds >= self.deadline_seconds:
            raise ValueError(
                f"gpu_deadline_seconds is {self.gpu_deadline_seconds:g}, not shorter than deadline_seconds "
                f"({self.deadline_seconds:g}): one sick GPU would hide the others; make it shorter"
            )
        return self
