package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"

	"github.com/spf13/cobra"

	"github.com/waxwing-dm/waxwing/sidecar/witnessing"
)

const defaultWitnessData = "waxwingd-witness"

// newWitness is a witness and auditor alone: it has neither users nor messages.
func newWitness() *cobra.Command {
	var c witnessing.Config
	var listen string
	cmd := &cobra.Command{
		Use: "witness", Short: "Only witness and audit the logs of other instances", Args: cobra.NoArgs,
		Long: `Watches the logs of other instances: it cosigns only what continues what it has seen, replays every entry, and says so when
a log is not in order. It has no users and sees no messages. A sidecar does the same for the instances that its users talk to;
this is for a machine that does nothing else. It speaks plain HTTP: put a reverse proxy with TLS in front.

Keep the data folder. An older copy of it must not be put back: it would not know what was signed since.`,
		Example: "  waxwingd witness --host w.example --for https://a.example --for https://b.example --listen 127.0.0.1:8481 --data /var/lib/waxwingd-witness",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			return serveWitness(cmd.Context(), c, listen)
		},
	}
	witnessFlags(cmd, &c)
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8481", "address to listen on")
	cmd.Flags().StringArrayVar(&c.For, "for", nil, "an instance whose log to witness; may be given several times")
	cmd.AddCommand(newWitnessKey(), newWitnessAccept())
	return cmd
}

func witnessFlags(cmd *cobra.Command, c *witnessing.Config) {
	cmd.Flags().StringVar(&c.Host, "host", "", "host in whose name it signs; needed at the first start and fixed from then on")
	cmd.Flags().StringVar(&c.DataDir, "data", defaultWitnessData, "data folder")
	cmd.Flags().BoolVar(&c.PostQuantum, "post-quantum", false, "sign with ML-DSA-44 as well")
}

func serveWitness(ctx context.Context, c witnessing.Config, listen string) (err error) {
	w, err := witnessing.Open(c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	c.Log.Info("witnessing", "host", w.Host(), "listen", l.Addr().String())
	return w.Serve(ctx, l)
}

func newWitnessKey() *cobra.Command {
	var c witnessing.Config
	cmd := &cobra.Command{
		Use: "key", Short: "Print the lines that others put into their policy file", Args: cobra.NoArgs,
		Long:    "Prints the lines that others put into their policy file. The data folder may be that of a sidecar.",
		Example: "  waxwingd witness key --data /var/lib/waxwingd-witness",
		RunE: func(cmd *cobra.Command, _ []string) error {
			w, err := witnessing.Open(c)
			if err != nil {
				return err
			}
			return errors.Join(printPolicy(cmd.OutOrStdout(), w), w.Close())
		},
	}
	witnessFlags(cmd, &c)
	return cmd
}

func newWitnessAccept() *cobra.Command {
	var c witnessing.Config
	cmd := &cobra.Command{
		Use: "accept INSTANCE KEY", Short: "Witness the log that an instance names now in place of the one before", Args: cobra.ExactArgs(2),
		Long: `An instance that names another log, or another key, than the first time is not followed: it may have been broken into, or it may
lie. When its admin has told you, in some other way, that the new one is in order, accept it by its key; the witness lists it under
"changed" at /waxwing/witness. Start the witness again afterwards.`,
		Example: "  waxwingd witness accept https://a.example 'a.example/waxwing/log/…+12345678+AQ…' --data /var/lib/waxwingd-witness",
		RunE: func(cmd *cobra.Command, args []string) error {
			w, err := witnessing.Open(c)
			if err != nil {
				return err
			}
			return errors.Join(w.Accept(cmd.Context(), args[0], args[1]), w.Close())
		},
	}
	cmd.Flags().StringVar(&c.DataDir, "data", defaultWitnessData, "data folder")
	return cmd
}

func printPolicy(out io.Writer, w *witnessing.Witnessing) error {
	for _, line := range w.Policy() {
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out, `
# To ask for one auditor and two witnesses out of several, for example:
#   group witnesses 2 %[1]s x.example y.example
#   group auditors any %[1]s/auditor x.example/auditor
#   group both all witnesses auditors
#   quorum both
`, w.Host())
	return err
}
