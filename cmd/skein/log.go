package main

import (
	"io"
	"log/slog"

	"github.com/spf13/cobra"
)

// logFlags say what a long-running command logs, to stderr.
type logFlags struct{ format, level string }

func (l *logFlags) add(cmd *cobra.Command, level string) {
	cmd.Flags().StringVar(&l.format, "log-format", "text", "`form` of the log on stderr: text or json")
	cmd.Flags().StringVar(&l.level, "log-level", level, "least `level` that is logged: debug, info, warn or error")
}

func (l *logFlags) open(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.level)); err != nil {
		return nil, usagef("--log-level %q: want debug, info, warn or error%s", l.level,
			didYouMean(l.level, "", []string{"debug", "info", "warn", "error"}))
	}
	options := &slog.HandlerOptions{Level: level}
	switch l.format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, usagef("--log-format %q: want text or json", l.format)
}
