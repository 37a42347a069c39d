// Command waxwingd is the sidecar: one beside each instance, run by its admin. It orders commits, keeps the log of device lists
// and carries ciphertext; it cannot read a message. `waxwingd help` shows what it can do.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/waxwing-dm/waxwing/sidecar"
	"github.com/waxwing-dm/waxwing/sidecar/settings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	if err := newCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "waxwingd:", err)
		stop()
		os.Exit(exitStatus(err))
	}
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use: "waxwingd", Short: "The Waxwing sidecar: encrypted direct messages beside a Fediverse instance",
		SilenceUsage: true, SilenceErrors: true,
	}
	account := &cobra.Command{Use: "account", Short: "The people of a stand-alone sidecar"}
	account.AddCommand(newAccountAdd(), newAccountCode())
	root.AddCommand(newInit(), newServe(), newStatus(), newConfig(), newWitness(), account, newErase(), newVersion())
	return root
}

// newAccountCommand is a command that gives one account a login code.
func newAccountCommand(use, short, example string, act func(s *sidecar.Sidecar, name string) (string, error)) *cobra.Command {
	var flags *settings.Flags
	cmd := &cobra.Command{
		Use: use + " NAME", Short: short, Example: example, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withSidecar(flags, func(s *sidecar.Sidecar) error {
				code, err := act(s, args[0])
				if err != nil {
					return err
				}
				return printCode(cmd.OutOrStdout(), s.Handle(args[0]), code)
			})
		},
	}
	flags = settings.Bind(cmd, "instance", "data")
	return cmd
}

func newAccountAdd() *cobra.Command {
	return newAccountCommand("add", "Make an account and print its login code",
		"  waxwingd account add alice --data /var/lib/waxwingd", (*sidecar.Sidecar).AddAccount)
}

func newAccountCode() *cobra.Command {
	return newAccountCommand("code", "Give an account another login code; the old one is void",
		"  waxwingd account code alice --data /var/lib/waxwingd", (*sidecar.Sidecar).NewCode)
}

// withSidecar opens the data folder for one change. A sidecar may be serving from it meanwhile.
func withSidecar(flags *settings.Flags, f func(*sidecar.Sidecar) error) error {
	in, err := flags.Load(os.Environ())
	if err != nil {
		return err
	}
	policy, err := loadPolicy(in.Witnesses)
	if err != nil {
		return err
	}
	s, err := sidecar.Open(sidecar.Config{Instance: in.Instance, DataDir: in.Data, Witnesses: policy})
	if err != nil {
		return err
	}
	return errors.Join(f(s), s.Close())
}

func printCode(w io.Writer, handle, code string) error {
	_, err := fmt.Fprintf(w, "account:    %s\nlogin code: %s\n\nHand the code to its owner only. They log in with: waxwing login %s\n", handle, code, handle)
	return err
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "waxwingd", version())
			return err
		},
	}
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
