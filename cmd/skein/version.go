package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build is what the binary knows of its making.
type build struct {
	Version  string `json:"version"` // of the module; "(devel)" from a checkout
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"` // the checkout had changes
	Time     string `json:"time,omitempty"`     // of the revision
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func readBuild() build {
	b := build{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func versionCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Say which skein this is",
		Example: "  skein version --json",
		RunE: func(*cobra.Command, []string) error {
			b := readBuild()
			if a.json {
				return a.out.json(b)
			}
			a.out.printf("skein %s", b.Version)
			if b.Revision != "" {
				a.out.printf(" (%.12s", b.Revision)
				if b.Modified {
					a.out.printf(", modified")
				}
				a.out.printf(")")
			}
			a.out.printf(" %s %s\n", b.Go, b.Platform)
			return nil
		},
	}
	a.addJSON(cmd)
	return cmd
}
