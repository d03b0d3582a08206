// Command skein runs nodes of a Skein mesh and talks to them from the command
// line. Each command has a file of its own; what a flag, the environment and
// the configuration file say is put together in config.go before the command
// runs, so commands see plain values. Tests start the same function as main.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the program: it interprets args, works until it is done or ctx ends,
// and returns the exit code. It touches no process state but the environment,
// so any number may run at once.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := newApp(stdin, stdout, stderr)
	root := rootCommand(a)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	var usage *usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(stderr, "skein: %v\n", err)
		fmt.Fprintf(stderr, "'%s --help' says more.\n", cmd.CommandPath())
		return exitUsage
	}
	var said *saidError
	if !errors.As(err, &said) {
		fmt.Fprintf(stderr, "skein: %v\n", err)
	}
	return exitFailed
}

// usageError is a mistake in what was typed, as opposed to a failure of what
// was asked for.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// saidError fails a command that has already told the user why.
type saidError struct{ err error }

func (e *saidError) Error() string { return e.err.Error() }
func (e *saidError) Unwrap() error { return e.err }
