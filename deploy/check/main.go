// Reads the files that container tools read, with those tools' own parsers, and prints what they understood as JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

func main() {
	read := map[string]func(string) (any, error){"compose": compose, "dockerfile": dockerfile, "context": buildContext}
	if len(os.Args) != 3 || read[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: check compose FILE | dockerfile FILE | context FOLDER")
		os.Exit(2)
	}
	found, err := read[os.Args[1]](os.Args[2])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(found)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// compose loads a file as `docker compose config` does: the specification's schema, references, interpolation.
func compose(path string) (any, error) {
	options, err := cli.NewProjectOptions([]string{path}, cli.WithOsEnv, cli.WithName("coldaisle"))
	if err != nil {
		return nil, err
	}
	return options.LoadProject(context.Background())
}

// dockerfile parses a file as `docker build` does, and gathers what BuildKit's linter says of it.
func dockerfile(path string) (any, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	tree, err := parser.Parse(file)
	if err != nil {
		return nil, err
	}
	warnings := []string{}
	for _, warning := range tree.Warnings {
		warnings = append(warnings, warning.Short)
	}
	lint := linter.New(&linter.Config{Warn: func(rule, _, _, message string, _ []parser.Range) {
		warnings = append(warnings, rule+": "+message)
	}})
	stages, arguments, err := instructions.Parse(tree.AST, lint)
	if err != nil {
		return nil, err
	}
	type instruction struct {
		Name string `json:"name"`
		Text string `json:"text"`
	}
	type stage struct {
		Name         string        `json:"name"`
		Base         string        `json:"base"`
		Instructions []instruction `json:"instructions"`
	}
	read := []stage{}
	for _, each := range stages {
		commands := []instruction{}
		for _, command := range each.Commands {
			commands = append(commands, instruction{command.Name(), fmt.Sprint(command)})
		}
		read = append(read, stage{each.Name, each.BaseName, commands})
	}
	return map[string]any{"stages": read, "arguments": len(arguments), "warnings": warnings}, nil
}

// buildContext lists the files that .dockerignore lets into an image.
func buildContext(root string) (any, error) {
	file, err := os.Open(filepath.Join(root, ".dockerignore"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	patterns, err := ignorefile.ReadAll(file)
	if err != nil {
		return nil, err
	}
	matcher, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, err
	}
	let := []string{}
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil || name == "." {
			return err
		}
		if entry.IsDir() && (name == ".git" || name == ".venv") {
			return fs.SkipDir // a test of its own: they are large, and never let in
		}
		ignored, err := matcher.MatchesOrParentMatches(name)
		if err == nil && !ignored && !entry.IsDir() {
			let = append(let, name)
		}
		return err
	})
	return let, err
}
