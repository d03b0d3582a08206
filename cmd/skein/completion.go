package main

import (
	"slices"

	"github.com/spf13/cobra"
)

func completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print a script that completes commands and flags in a shell",
		Example: `  # bash, for this session:
  source <(skein completion bash)

  # zsh, for good:
  skein completion zsh > "${fpath[1]}/_skein"

  # fish, for good:
  skein completion fish > ~/.config/fish/completions/skein.fish`,
		ValidArgs: shells,
		Args:      cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch shell := args[0]; shell {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(out)
			default:
				return usagef("no completion for the shell %q%s", shell, didYouMean(shell, "", slices.Clone(shells)))
			}
		},
	}
}
