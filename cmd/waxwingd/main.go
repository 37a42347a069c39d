// Command waxwingd is the sidecar: one beside each instance, run by its admin. It orders commits, keeps the log of device lists
// and carries ciphertext; it cannot read a message. `waxwingd help` shows what it can do.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/waxwing-dm/waxwing/sidecar"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
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
	root.AddCommand(newServe(), newWitness(), account, newErase(), newVersion())
	return root
}

const defaultData = "waxwingd-data"

func newServe() *cobra.Command {
	var c sidecar.Config
	var listen, witnesses string
	var standalone bool
	cmd := &cobra.Command{
		Use: "serve", Short: "Answer calls and deliver messages", Args: cobra.NoArgs,
		Long: `Answers calls and delivers messages until it is stopped. It speaks plain HTTP: put a reverse proxy with TLS in front that
passes the Host header on. The data folder holds the instance's keys; keep it private and backed up.

Witnesses are asked to cosign the instance's log, so that nobody can be shown another one. If they know more of it than the data
folder does, the folder came from a backup: then it stops, the error says what to do, and the exit status is 78.`,
		Example: "  waxwingd serve --standalone --instance https://a.example --listen 127.0.0.1:8480 --data /var/lib/waxwingd --witnesses /etc/waxwingd/witnesses",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if !standalone {
				return errors.New("this version runs stand-alone only: add --standalone")
			}
			if c.Witnesses, err = loadPolicy(witnesses); err != nil {
				return err
			}
			c.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			return serve(cmd.Context(), c, listen)
		},
	}
	cmd.Flags().BoolVar(&standalone, "standalone", false, "host the actors here, without another server")
	cmd.Flags().StringVar(&c.Instance, "instance", "", "the instance's origin; needed at the first start and fixed from then on")
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8480", "address to listen on")
	cmd.Flags().StringVar(&c.DataDir, "data", defaultData, "data folder")
	cmd.Flags().StringVar(&witnesses, "witnesses", "", "file that says whose cosignatures the log needs (C2SP tlog-policy); none: the log is its own word only")
	cmd.Flags().StringArrayVar(&c.WitnessFor, "witness-for", nil, "an instance whose log to witness, besides those that the users here talk to; may be given several times")
	return cmd
}

func serve(ctx context.Context, c sidecar.Config, listen string) (err error) {
	s, err := sidecar.Open(c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	c.Log.Info("serving", "instance", s.Instance(), "listen", l.Addr().String())
	return s.Serve(ctx, l)
}

// newAccountCommand is a command that gives one account a login code.
func newAccountCommand(use, short, example string, act func(s *sidecar.Sidecar, name string) (string, error)) *cobra.Command {
	var c sidecar.Config
	cmd := &cobra.Command{
		Use: use + " NAME", Short: short, Example: example, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withSidecar(c, func(s *sidecar.Sidecar) error {
				code, err := act(s, args[0])
				if err != nil {
					return err
				}
				return printCode(cmd.OutOrStdout(), s.Handle(args[0]), code)
			})
		},
	}
	cmd.Flags().StringVar(&c.Instance, "instance", "", "the instance's origin, if nothing has been served from this folder yet")
	cmd.Flags().StringVar(&c.DataDir, "data", defaultData, "data folder")
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
func withSidecar(c sidecar.Config, f func(*sidecar.Sidecar) error) error {
	s, err := sidecar.Open(c)
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
			version := "unknown"
			if info, ok := debug.ReadBuildInfo(); ok {
				version = info.Main.Version
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "waxwingd", version)
			return err
		},
	}
}
