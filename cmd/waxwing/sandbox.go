package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/waxwing-dm/waxwing/sandbox"
)

func newSandbox() *cobra.Command {
	var demo bool
	var dir string
	cmd := &cobra.Command{
		Use: "sandbox", Short: "Run two instances and three people on this machine, to try everything out", Args: cobra.NoArgs,
		Long: `Runs two stand-alone sidecars, a.test and b.test, and the agents of alice and
carol (at a.test) and bob (at b.test), with real HTTP between them on loopback.
It prints where each agent's local API answers, and stays up. With --demo it
plays a script instead, looks for what was said in everything the servers wrote
and received, and ends.`,
		Example: "  waxwing sandbox --demo\n  waxwing sandbox",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if dir == "" {
				if dir, err = os.MkdirTemp("", "waxwing-sandbox-"); err != nil {
					return err
				}
				defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
			}
			s, err := sandbox.Start(cmd.Context(), dir)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.Close()) }()
			if demo {
				return s.Demo(cmd.Context(), cmd.OutOrStdout())
			}
			if err := introduce(cmd.OutOrStdout(), s); err != nil {
				return err
			}
			<-cmd.Context().Done()
			return nil
		},
	}
	cmd.Flags().BoolVar(&demo, "demo", false, "play the script and end")
	cmd.Flags().StringVar(&dir, "dir", "", "keep everything in this folder, which should be empty")
	return cmd
}

// introduce says where everybody is and what to try.
func introduce(w io.Writer, s *sandbox.Sandbox) error {
	if _, err := fmt.Fprint(w, "The sandbox is up. Each person's agent answers programs here:\n\n"); err != nil {
		return err
	}
	for _, p := range s.People() {
		if _, err := fmt.Fprintf(w, "  %-14s http://%s/v1  token %s\n", p.Handle, p.Address, p.Token); err != nil {
			return err
		}
	}
	alice, bob := s.Person("alice"), s.Person("bob")
	_, err := fmt.Fprintf(w, `
In one terminal, follow what reaches bob:

  curl -N -H 'Authorization: Bearer %s' 'http://%s/v1/events?after=0'

In another, write to him as alice:

  curl -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' -H 'Idempotency-Key: 1' \
    -d '{"to":["%s"],"text":"hello"}' http://%s/v1/messages

All calls: http://%s/v1/openapi.json (with the token). Ctrl-C ends it and deletes everything.
`, bob.Token, bob.Address, alice.Token, bob.Handle, alice.Address, alice.Address)
	return err
}
