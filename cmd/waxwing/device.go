package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waxwing-dm/waxwing/agent/client"
)

const resetWords = `This replaces the keys of your account by those of this device:
  - the device that you had is logged out, and cannot log in again without a new code
  - everybody who knows you is told that your keys changed; tell them by another
    way that it was you
  - what was written before is on the old device and not here, and old
    conversations go on without you until the others accept your new keys
If the old device is at hand, do not go on.
`

const revokeWords = `This takes this device off your account's list, for good. Do it before you give
the machine away, or if somebody may have copied its key:
  - nobody encrypts to it any more, and conversations go on without it
  - what it has received can still be read here
  - it cannot send, receive or log in again
To write again afterwards, log in on a fresh home with --reset and a new code.
`

func (c *cli) device() *cobra.Command {
	cmd := &cobra.Command{
		Use: "device", Short: "This device's place in your account", Example: "  waxwing device revoke",
	}
	cmd.AddCommand(c.revoke())
	return cmd
}

func (c *cli) revoke() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "revoke", Short: "Take this device off your account's list, for good", Args: cobra.NoArgs,
		Long: revokeWords + `
It works without being logged in. It can be repeated.`,
		Example: "  waxwing device revoke",
		RunE: func(cmd *cobra.Command, _ []string) error {
			agent := c.dial()
			account, err := agent.Account(cmd.Context())
			if err != nil {
				return err
			}
			if !yes && account.State != "removed" {
				if err := confirm(cmd, revokeWords, account.Handle); err != nil {
					return err
				}
			}
			if !c.json {
				if _, err := fmt.Fprintln(cmd.ErrOrStderr(), "asking your instance to write it into its log …"); err != nil {
					return err
				}
			}
			done, err := agent.RevokeDevice(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), done, func(w io.Writer) error { return printRevoked(w, done) })
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func printRevoked(w io.Writer, done client.Revoked) error {
	text := "this device is not in your account's list any more\n"
	if !done.Seen {
		text = "your instance has it in its log; it counts for everybody once that is witnessed (to see whether it is, repeat this command)\n"
	}
	_, err := fmt.Fprint(w, text+"what it has received can still be read: waxwing read. It can neither send nor receive\n")
	return err
}

// confirm says what is about to happen and asks for a handle to be typed.
func confirm(cmd *cobra.Command, words, handle string) error {
	if _, err := fmt.Fprintf(cmd.ErrOrStderr(), "%sType %s to go on: ", words, plain(handle)); err != nil {
		return err
	}
	line, err := readLine(cmd.InOrStdin())
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if normal(line) != normal(handle) {
		return fmt.Errorf("that is not %s: nothing was done (--yes does not ask)", plain(handle))
	}
	return nil
}

// readLine reads no further than the line's end, so that the next question has its own.
func readLine(r io.Reader) (string, error) {
	var line []byte
	for one := make([]byte, 1); len(line) < 1024; {
		n, err := r.Read(one)
		if n == 1 && one[0] == '\n' {
			break
		}
		line = append(line, one[:n]...)
		if err != nil {
			return strings.TrimSpace(string(line)), err
		}
	}
	return strings.TrimSpace(string(line)), nil
}

func printMoved(w io.Writer, x client.Contact) error {
	text := "%s says that the account goes on as %s\n  that account does not say so, or cannot prove it: ask them by another way before you write there\n"
	if x.Proven {
		text = "%s has moved to %s\n  both accounts say so, and the new one proves it with the key that the old one promised\n"
	}
	_, err := fmt.Fprintf(w, text, plain(x.Handle), plain(x.MovedTo))
	return err
}
