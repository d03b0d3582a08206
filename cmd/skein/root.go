package main

import (
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// app is what the commands of one run share: where they read and write, and
// what the flags that many of them have were set to.
type app struct {
	stdin  io.Reader
	out    *screen // stdout
	err    *screen // stderr
	json   bool
	server serverFlags
	config string // path of the configuration file
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	return &app{stdin: stdin, out: newScreen(stdout), err: newScreen(stderr)}
}

// Groups of commands in the help text.
const (
	groupRun  = "run"
	groupUse  = "use"
	groupLook = "look"
)

func rootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "skein",
		Short: "A federated mesh of peer event brokers",
		Long: `Skein is a federated mesh of peer event brokers. Start nodes in any number of
regions with a seed list, publish a CloudEvent to the node next to you, and
subscribe at any node with a filter: events come from anywhere, and nobody
configures routes, topics or channels.

Every flag may also be set in the environment (--data-dir as SKEIN_DATA_DIR) and
in the file that --config names (as data-dir: ...). A flag wins over the
environment, the environment over the file, the file over the default.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  # Three regions on this machine, traffic, a cut and its healing, in one command:
  skein demo

  # A node, a subscriber and an event, in three terminals:
  skein serve
  skein sub --type 'order.>'
  skein pub --type order.created --source /shop --data '{"total": 42}'`,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          group,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return a.configure(cmd)
		},
	}
	root.PersistentFlags().StringVar(&a.config, "config", "", "`file` in YAML whose keys are flags")
	root.PersistentFlags().SortFlags = false
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(flagError)
	root.AddGroup(
		&cobra.Group{ID: groupRun, Title: "Run a mesh:"},
		&cobra.Group{ID: groupUse, Title: "Publish and subscribe:"},
		&cobra.Group{ID: groupLook, Title: "Look into a mesh:"},
	)
	add := func(id string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = id
			root.AddCommand(c)
		}
	}
	add(groupRun, serveCommand(a), drainCommand(a), demoCommand(a), keyCommand(a), storeCommand(a))
	add(groupUse, pubCommand(a), subCommand(a), streamCommand(a), benchCommand(a))
	add(groupLook, topologyCommand(a), nodesCommand(a), linksCommand(a), interestsCommand(a), routeCommand(a))
	add("", versionCommand(a), completionCommand())
	root.SetHelpCommand(helpCommand())
	asUsage(root)
	return root
}

// addJSON gives a command that prints its --json.
func (a *app) addJSON(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&a.json, "json", false, "print JSON")
}

// group is what a command does that only holds others: it says which it has,
// or which one may have been meant.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return usagef("unknown command %q for %q%s", args[0], cmd.CommandPath(), didYouMean(args[0], "", names))
}

// flagError names the flag that was probably meant, or the command: where that
// is misspelt, its flags are unknown, too.
func flagError(cmd *cobra.Command, err error) error {
	if args := cmd.Flags().Args(); cmd.HasSubCommands() && len(args) > 0 {
		return group(cmd, args)
	}
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return &usageError{err}
	}
	if unknown.GetSpecifiedShortnames() != "" {
		return &usageError{err}
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return usagef("unknown flag --%s for %q%s", unknown.GetSpecifiedName(), cmd.CommandPath(),
		didYouMean(unknown.GetSpecifiedName(), "--", names))
}

// asUsage makes what cobra says about wrong arguments an error of usage.
func asUsage(cmd *cobra.Command) {
	check := cmd.Args
	if cmd.HasSubCommands() {
		check = cobra.ArbitraryArgs // group answers
	} else if check == nil {
		check = cobra.NoArgs
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &usageError{err}
		}
		return nil
	}
	for _, c := range cmd.Commands() {
		asUsage(c)
	}
}

func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [command]",
		Short:   "Say what a command does",
		Example: "  skein help pub",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			if err != nil || found == nil || len(rest) > 0 {
				return group(cmd.Root(), []string{strings.Join(args, " ")})
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}
