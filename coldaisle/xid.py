"""NVIDIA Xid knowledge as a table: meaning, action, who causes whom."""

# ruff: noqa: E501 - the rows of a table are as long as they are

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple


class Page(StrEnum):
    """What a human must do about an Xid that stands alone."""

    PAGE = "page"
    TICKET = "ticket"
    INFO = "info"


class Xid(NamedTuple):
    """
    One row of the catalogue.

    ``action`` is NVIDIA's immediate action. ``because_of`` are the Xids which, seen shortly before on the same
    GPU, are the true cause, so that this one is sympathetic.
    """

    code: int
    mnemonic: str
    meaning: str
    action: str
    page: Page
    because_of: tuple[int, ...]

    @property
    def advice(self) -> str:
        """What to do, in words."""
        return ADVICE.get(self.action, "Look the Xid up in NVIDIA's catalogue.")


ADVICE: Final = {
    "RESTART_APP": "Restart the application; if it comes again on the same GPU, run the vendor's diagnostics.",
    "RESET_GPU": "Drain the node and reset the GPU; if it comes again, contact the vendor.",
    "RESTART_BM": "Drain the node and reboot it; if the GPU stays away, power-cycle the node and contact the vendor.",
    "RESTART_VM": "Restart the virtual machine.",
    "CHECK_MECHANICALS": "Check that the GPU's power cables and the board are seated.",
    "CHECK_UVM": "Check the unified-memory driver's messages.",
    "UPDATE_SWFW": "Update the driver and firmware.",
    "CONTACT_SUPPORT": "Contact the vendor.",
    "READ_RECOVERY_ACTION": "Read the recovery action that the driver now asks for (it speaks of another Xid).",
    "WORKFLOW_XID_48": "Drain the node and reset the GPU; Xids 63, 64, 94, 95, 171 and 172 tell more.",
    "WORKFLOW_XID_45": "If no other Xid stands beside it restart the fabric manager, else follow the other Xid.",
    "WORKFLOW_NVLINK_ERR": "Decode the registers in the kernel's line; reset the GPU, check the link's partner.",
    "WORKFLOW_NVLINK5_ERR": "Decode intrinfo and errorstatus: about half of these may be ignored, the rest need a reset.",
    "IGNORE": "Nothing at once; watch whether it repeats.",
    "NONE": "NVIDIA names no action; watch whether it repeats.",
}

# Codes, mnemonics and actions: docs.nvidia.com/deploy/xid-errors, as generated into gpud on 2025-10-29. Whether to page
# is our reading of the action: hardware that must be reset or serviced pages, an application's own mistake does not.
# 144-150 are a ticket until their bits are decoded: 45 of 94 rules of the decode table say IGNORE.
# fmt: off
_XIDS = (
    Xid(8, "FIFO_ERROR_IDLE_TIMEOUT", "GPU stopped processing", "RESTART_APP", Page.INFO, ()),
    Xid(11, "GR_ERROR_MISSING_HW", "Invalid or corrupted push buffer stream", "RESTART_APP", Page.INFO, ()),
    Xid(13, "GR_EXCEPTION", "Graphics Engine Exception", "RESTART_APP", Page.INFO, ()),
    Xid(25, "GR_ILLEGAL_NOTIFY", "Invalid or illegal push buffer stream", "RESTART_APP", Page.INFO, ()),
    Xid(31, "FIFO_ERROR_MMU_ERR_FLT", "GPU memory page fault", "RESTART_APP", Page.INFO, ()),
    Xid(32, "PBDMA_ERROR", "Invalid or corrupted push buffer stream", "RESTART_APP", Page.INFO, ()),
    Xid(37, "FECS_ERR_UNIMP_FIRMWARE_METHOD", "Driver firmware error", "IGNORE", Page.INFO, ()),
    Xid(38, "FECS_ERR_WATCHDOG_TIMEOUT", "Driver firmware error", "IGNORE", Page.INFO, ()),
    Xid(39, "CE0_ERROR", "Copy Engine Exception", "RESTART_APP", Page.INFO, ()),
    Xid(40, "CE1_ERROR", "Copy Engine Exception", "RESTART_APP", Page.INFO, ()),
    Xid(41, "CE2_ERROR", "Copy Engine Exception", "RESTART_APP", Page.INFO, ()),
    Xid(43, "RESETCHANNEL_VERIF_ERROR", "GPU stopped processing", "IGNORE", Page.INFO, (13, 31, 94, 95)),
    Xid(44, "GR_FAULT_DURING_CTXSW", "Graphics Engine fault during context switch", "IGNORE", Page.INFO, ()),
    Xid(45, "PREEMPTIVE_REMOVAL", "Preemptive cleanup, due to previous errors", "WORKFLOW_XID_45", Page.INFO, (13, 31, 48, 62, 64, 74, 79, 94, 95, 109, 119, 120, 140)),
    Xid(46, "GPU_TIMEOUT_ERROR", "GPU stopped processing", "RESET_GPU", Page.PAGE, ()),
    Xid(48, "GPU_ECC_DBE", "Double Bit ECC Error", "WORKFLOW_XID_48", Page.PAGE, (94, 95)),
    Xid(54, "SILENT_RUNNING_PWR_REDUCED_CLOCKING", "Auxiliary power is not connected to the GPU board", "CHECK_MECHANICALS", Page.PAGE, ()),
    Xid(60, "SEC2_ERROR", "Video processor exception", "RESTART_APP", Page.INFO, ()),
    Xid(62, "PMU_HALT_ERROR", "Internal micro-controller halt (newer drivers)", "RESET_GPU", Page.PAGE, ()),
    Xid(63, "INFOROM_DRAM_RETIREMENT_EVENT", "GPU memory remapping event", "IGNORE", Page.INFO, (48,)),
    Xid(64, "INFOROM_DRAM_RETIREMENT_FAILURE", "GPU memory remapping failure", "RESET_GPU", Page.PAGE, (48,)),
    Xid(66, "FECS_ERR_REG_ACCESS_VIOLATION", "Illegal access by driver", "IGNORE", Page.INFO, ()),
    Xid(67, "FECS_ERR_VERIF_VIOLATION", "Illegal access by driver", "IGNORE", Page.INFO, ()),
    Xid(68, "NVDEC0_ERROR", "NVDEC0 Exception", "RESTART_APP", Page.INFO, ()),
    Xid(69, "GR_CLASS_ERROR", "Graphics Engine class error", "RESTART_APP", Page.INFO, ()),
    Xid(70, "CE3_ERROR", "CE3: Unknown Error", "RESTART_APP", Page.INFO, ()),
    Xid(71, "CE4_ERROR", "CE4: Unknown Error", "RESTART_APP", Page.INFO, ()),
    Xid(72, "CE5_ERROR", "CE5: Unknown Error", "RESTART_APP", Page.INFO, ()),
    Xid(74, "NVLINK_ERROR", "NVLINK Error", "WORKFLOW_NVLINK_ERR", Page.PAGE, (79,)),
    Xid(75, "CE6_ERROR", "CE6: Unknown Error", "RESTART_APP", Page.INFO, ()),
    Xid(76, "CE7_ERROR", "CE7: Unknown Error", "RESTART_APP", Page.INFO, ()),
    Xid(77, "CE8_ERROR", "CE8: Unknown Error", "RESTART_APP", Page.INFO, ()),
    Xid(78, "VGPU_START_ERROR", "vGPU Start Error", "UPDATE_SWFW", Page.TICKET, ()),
    Xid(79, "GPU_HAS_FALLEN_OFF_THE_BUS", "GPU has fallen off the bus", "RESTART_BM", Page.PAGE, ()),
    Xid(80, "PBDMA_PUSHBUFFER_CRC_MISMATCH", "Corrupted data sent to GPU", "RESTART_APP", Page.INFO, ()),
    Xid(82, "NVJPG0_ERROR", "NVJPG0 Error", "RESTART_APP", Page.INFO, ()),
    Xid(83, "NVDEC1_ERROR", "NVDEC1 Error", "RESTART_APP", Page.INFO, ()),
    Xid(84, "NVDEC2_ERROR", "NVDEC2 Error", "RESTART_APP", Page.INFO, ()),
    Xid(85, "CE9_ERROR", "CE9: Unknown Error", "RESTART_APP", Page.INFO, ()),
    Xid(86, "OFA0_ERROR", "OFA Exception", "RESTART_APP", Page.INFO, ()),
    Xid(88, "NVDEC3_ERROR", "NVDEC3 Error", "RESTART_APP", Page.INFO, ()),
    Xid(89, "NVDEC4_ERROR", "NVDEC4 Error", "RESTART_APP", Page.INFO, ()),
    Xid(92, "EXCESSIVE_SBE_INTERRUPTS", "High single-bit ECC error rate", "IGNORE", Page.TICKET, ()),
    Xid(93, "INFOROM_ERASE_LIMIT_EXCEEDED", "Non-fatal violation of provisioned InfoROM wear limit", "IGNORE", Page.INFO, ()),
    Xid(94, "CONTAINED_ERROR", "Contained memory error", "RESTART_APP", Page.TICKET, (48,)),
    Xid(95, "UNCONTAINED_ERROR", "Uncontained memory error", "RESET_GPU", Page.PAGE, (48,)),
    Xid(96, "NVDEC5_ERROR", "NVDEC5 Error", "RESTART_APP", Page.INFO, ()),
    Xid(97, "NVDEC6_ERROR", "NVDEC6 Error", "RESTART_APP", Page.INFO, ()),
    Xid(98, "NVDEC7_ERROR", "NVDEC7 Error", "RESTART_APP", Page.INFO, ()),
    Xid(99, "NVJPG1_ERROR", "NVJPG1 Error", "RESTART_APP", Page.INFO, ()),
    Xid(100, "NVJPG2_ERROR", "NVJPG2 Error", "RESTART_APP", Page.INFO, ()),
    Xid(101, "NVJPG3_ERROR", "NVJPG3 Error", "RESTART_APP", Page.INFO, ()),
    Xid(102, "NVJPG4_ERROR", "NVJPG4 Error", "RESTART_APP", Page.INFO, ()),
    Xid(103, "NVJPG5_ERROR", "NVJPG5 Error", "RESTART_APP", Page.INFO, ()),
    Xid(104, "NVJPG6_ERROR", "NVJPG6 Error", "RESTART_APP", Page.INFO, ()),
    Xid(105, "NVJPG7_ERROR", "NVJPG7 Error", "RESTART_APP", Page.INFO, ()),
    Xid(106, "SMBPBI_TEST_MESSAGE", "SMBPBI Test Message", "IGNORE", Page.INFO, ()),
    Xid(107, "SMBPBI_TEST_MESSAGE_SILENT", "SMBPBI Test Message Silent", "IGNORE", Page.INFO, ()),
    Xid(109, "CTXSW_TIMEOUT_ERROR", "Context Switch Timeout Error", "RESET_GPU", Page.PAGE, ()),
    Xid(110, "SEC_FAULT_ERROR", "Security Fault Error", "RESET_GPU", Page.PAGE, ()),
    Xid(119, "GSP_RPC_TIMEOUT", "GSP RPC Timeout", "RESET_GPU", Page.PAGE, (79,)),
    Xid(120, "GSP_ERROR", "GSP Error", "RESET_GPU", Page.PAGE, ()),
    Xid(121, "C2C_ERROR", "C2C Error", "IGNORE", Page.TICKET, ()),
    Xid(126, "CE10_ERROR", "CE10: Unknown Error", "RESTART_APP", Page.INFO, ()),
    Xid(127, "CE11_ERROR", "CE11: Unknown Error", "RESTART_APP", Page.INFO, ()),
    Xid(128, "CE12_ERROR", "CE12: Unknown Error", "RESTART_APP", Page.INFO, ()),
    Xid(129, "CE13_ERROR", "CE13: Unknown Error", "RESTART_APP", Page.INFO, ()),
    Xid(130, "CE14_ERROR", "CE14: Unknown Error", "RESTART_APP", Page.INFO, ()),
    Xid(131, "CE15_ERROR", "CE15: Unknown Error", "RESTART_APP", Page.INFO, ()),
    Xid(132, "CE16_ERROR", "CE16: Unknown Error", "RESTART_APP", Page.INFO, ()),
    Xid(133, "CE17_ERROR", "CE17: Unknown Error", "RESTART_APP", Page.INFO, ()),
    Xid(134, "CE18_ERROR", "CE18: Unknown Error", "RESTART_APP", Page.INFO, ()),
    Xid(135, "CE19_ERROR", "CE19: Unknown Error", "RESTART_APP", Page.INFO, ()),
    Xid(136, "ALI_TRAINING_FAIL", "Link Training Failed", "RESET_GPU", Page.PAGE, ()),
    Xid(137, "NVLINK_PRIV_ERR", "NVLink Privilege Error", "IGNORE", Page.INFO, ()),
    Xid(139, "OFA1_ERROR", "OFA1 Error", "RESTART_APP", Page.INFO, ()),
    Xid(140, "UNRECOVERABLE_ECC_ERROR_ESCAPE", "ECC Unrecovered Error", "RESET_GPU", Page.PAGE, ()),
    Xid(141, "FAST_PATH_ERROR", "CUDA Fast Path Error", "IGNORE", Page.INFO, ()),
    Xid(142, "NVENC3_ERROR", "NVENC3 Error", "CONTACT_SUPPORT", Page.TICKET, ()),
    Xid(143, "GPU_INIT_ERROR", "GPU Initialization Error", "RESET_GPU", Page.PAGE, ()),
    Xid(144, "NVLINK_SAW_ERROR", "NVLINK: SAW Error", "WORKFLOW_NVLINK5_ERR", Page.TICKET, ()),
    Xid(145, "NVLINK_RLW_ERROR", "NVLINK: RLW Error", "WORKFLOW_NVLINK5_ERR", Page.TICKET, ()),
    Xid(146, "NVLINK_TLW_ERROR", "NVLINK: TLW Error", "WORKFLOW_NVLINK5_ERR", Page.TICKET, ()),
    Xid(147, "NVLINK_TREX_ERROR", "NVLINK: TREX Error", "WORKFLOW_NVLINK5_ERR", Page.TICKET, ()),
    Xid(148, "NVLINK_NVLPW_CTRL_ERROR", "NVLINK: NVLPW_CTRL Error", "WORKFLOW_NVLINK5_ERR", Page.TICKET, ()),
    Xid(149, "NVLINK_NETIR_ERROR", "NVLINK: NETIR Error", "WORKFLOW_NVLINK5_ERR", Page.TICKET, ()),
    Xid(150, "NVLINK_MSE_ERROR", "NVLINK: MSE Error", "WORKFLOW_NVLINK5_ERR", Page.TICKET, ()),
    Xid(151, "KEY_ROTATION_ERROR", "Key rotation Error", "RESTART_VM", Page.PAGE, ()),
    Xid(152, "DLA_SMMU_ERROR", "DLA SMMU Error", "IGNORE", Page.INFO, ()),
    Xid(153, "DLA_TIMEOUT", "DLA timeout Error", "IGNORE", Page.INFO, ()),
    Xid(154, "GPU_RECOVERY_ACTION_CHANGED", "GPU Recovery Action Changed", "READ_RECOVERY_ACTION", Page.INFO, (48, 79, 95, 119, 120, 140)),
    Xid(155, "NVLINK_SW_DEFINED_ERROR", "NVLINK: SW Defined Error", "RESET_GPU", Page.PAGE, ()),
    Xid(156, "RESOURCE_RETIREMENT_EVENT", "Resource Retirement Event", "RESET_GPU", Page.TICKET, ()),
    Xid(157, "RESOURCE_RETIREMENT_FAILURE", "Resource Retirement Failure", "IGNORE", Page.TICKET, ()),
    Xid(158, "GPU_FATAL_TIMEOUT", "GPU Fatal Timeout", "RESET_GPU", Page.PAGE, ()),
    Xid(159, "CHI_NON_DATA_ERROR", "CHI Non-Data Error", "CHECK_UVM", Page.INFO, ()),
    Xid(160, "CHANNEL_RETIREMENT_EVENT", "Channel Retirement Event", "IGNORE", Page.INFO, ()),
    Xid(161, "CHANNEL_RETIREMENT_FAILURE", "Channel Retirement Failure", "IGNORE", Page.INFO, ()),
    Xid(162, "PSHC_REENGAGED", "Power Smoothing HW Circuitry capability reengaged", "NONE", Page.INFO, ()),
    Xid(163, "PSHC_DISENGAGED", "Power Smoothing HW Circuitry capability disengaged", "NONE", Page.TICKET, ()),
    Xid(164, "PSHC_LOW_LIFETIME", "Power Smoothing HW Circuitry low lifetime reached", "NONE", Page.TICKET, ()),
    Xid(165, "PSHC_ZERO_LIFETIME", "Power Smoothing HW Circuitry lifetime exhausted", "NONE", Page.TICKET, ()),
    Xid(166, "NVLINK_SECURE_CRYPTO_ERR", "CC traffic seen prior to link properly being configured for encrypted traffic", "NONE", Page.TICKET, ()),
    Xid(167, "PCIE_FATAL_TIMEOUT", "PCIE_FATAL_TIMEOUT", "NONE", Page.PAGE, ()),
    Xid(168, "REDUCED_GPU_MEMORY_CAPACITY", "Errors found in WPR (write protected region)", "NONE", Page.TICKET, ()),
    Xid(169, "SEC2_HALT_ERROR", "Internal micro-controller halt", "NONE", Page.TICKET, ()),
    Xid(170, "NVLINK_SECURE_OTHER", "Interrupt seen in CC mode", "NONE", Page.TICKET, ()),
    Xid(171, "UNCORRECTABLE_DRAM_ERROR", "Tells DRAM from SRAM beside Xid 48", "NONE", Page.INFO, (48, 94, 95)),
    Xid(172, "UNCORRECTABLE_SRAM_ERROR", "Tells DRAM from SRAM beside Xid 48", "NONE", Page.INFO, (48, 94, 95)),
)
# fmt: on

XIDS: Final[dict[int, Xid]] = {xid.code: xid for xid in _XIDS}


def sympathetic(code: int, before: set[int]) -> bool:
    """Return whether Xid ``code`` only follows from one of ``before`` seen shortly before on the same GPU."""
    known = XIDS.get(code)
    return known is not None and not before.isdisjoint(known.because_of)
