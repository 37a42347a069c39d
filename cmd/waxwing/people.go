package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/waxwing-dm/waxwing/agent/client"
)

// slowLogin is when a person wants to know that something happens.
const slowLogin = 3 * time.Second

func (c *cli) login() *cobra.Command {
	var code string
	var reset, yes bool
	cmd := &cobra.Command{
		Use: "login HANDLE", Short: "Make this device one of your account", Args: cobra.ExactArgs(1),
		Long: `Logs in with the login code that your instance's admin handed out, and
publishes this device's keys. It can be repeated.

If the device that you had is lost or stolen, ask the admin for a new code and
log in with --reset: this device then takes its place.`,
		Example: "  waxwing login @alice@chat.example\n  waxwing login @alice@chat.example --reset    # the old device is lost",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if reset && !yes {
				if err := confirm(cmd, resetWords, args[0]); err != nil {
					return err
				}
			}
			if code == "" {
				if code, err = askCode(cmd); err != nil {
					return err
				}
			}
			slow := time.AfterFunc(slowLogin, func() {
				fmt.Fprintln(cmd.ErrOrStderr(), "still at it: others see this device once the instance's witnesses have seen it; that can take a minute")
			})
			login := c.dial().Login
			if reset {
				login = c.dial().LoginReset
			}
			a, err := login(cmd.Context(), args[0], code)
			slow.Stop()
			if err != nil {
				return err
			}
			return c.say(cmd, a, fmt.Sprintf("logged in as %s\nthis device is %s", plain(a.Handle), plain(a.Device)))
		},
	}
	cmd.Flags().StringVar(&code, "code", "", "the login code; it is asked for otherwise")
	cmd.Flags().BoolVar(&reset, "reset", false, "the account's old device is lost or stolen: replace it by this one")
	cmd.Flags().BoolVar(&yes, "yes", false, "with --reset: do not ask")
	return cmd
}

func askCode(cmd *cobra.Command) (string, error) {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		line, err := readLine(cmd.InOrStdin())
		if line == "" {
			return "", fmt.Errorf("give the login code with --code, or as a line of input: %w", err)
		}
		return line, nil
	}
	code, err := ask(cmd.ErrOrStderr(), int(os.Stdin.Fd()), "Login code: ")
	return strings.TrimSpace(string(code)), err
}

func (c *cli) contact() *cobra.Command {
	cmd := &cobra.Command{
		Use: "contact HANDLE", Short: "Look somebody up, and say why their keys are believed", Args: cobra.ExactArgs(1),
		Long: `Asks the directory of somebody's instance for their devices, checks what proves
them, and says in words what there is to believe it and what is missing.`,
		Example: "  waxwing contact @bob@elsewhere.example\n  waxwing contact accept @bob@elsewhere.example    # after a reset",
		RunE: func(cmd *cobra.Command, args []string) error {
			x, err := c.dial().Contact(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), x, func(w io.Writer) error { return printContact(w, x) })
		},
	}
	cmd.AddCommand(c.accept())
	return cmd
}

func (c *cli) accept() *cobra.Command {
	var resets int
	cmd := &cobra.Command{
		Use: "accept HANDLE", Short: "Accept somebody's new keys after a reset", Args: cobra.ExactArgs(1),
		Long: `After a reset, somebody's keys are new ones that the old ones do not vouch for:
they have lost their devices, or it is somebody else. Ask them by another way,
then say so here. What waits for it is sent.`,
		Example: "  waxwing contact accept @bob@elsewhere.example",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("resets") {
				x, err := c.dial().Contact(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				resets = x.Resets
			}
			x, err := c.dial().AcceptKeys(cmd.Context(), args[0], resets)
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), x, func(w io.Writer) error { return printContact(w, x) })
		},
	}
	cmd.Flags().IntVar(&resets, "resets", 0, `how many resets "waxwing contact" showed you: one that came later is not accepted`)
	return cmd
}

func printContact(w io.Writer, x client.Contact) error {
	if x.MovedTo != "" {
		return printMoved(w, x)
	}
	text := plain(x.Handle) + " can be written to\n"
	switch {
	case x.Changed:
		text = fmt.Sprintf(`%[1]s has new keys, or none, and the old ones do not vouch for that: nothing is sent
ask them by another way whether it was they, and only then: waxwing contact accept %[1]s --resets %[2]d
`, plain(x.Handle), x.Resets)
	case x.State == "plain":
		text = plain(x.Handle) + " can be written to in a plain conversation only: waxwing send --plain\n" + plain(x.Note) + "\n"
	case x.State != "ready":
		text = plain(x.Handle) + " has no device to encrypt to yet\n"
	}
	for _, id := range x.Devices {
		text += "  device " + plain(id) + "\n"
	}
	if x.Believed != nil {
		text += plain(x.Believed.Sentence) + "\n"
	}
	_, err := io.WriteString(w, text)
	return err
}

func (c *cli) devices() *cobra.Command {
	return &cobra.Command{
		Use: "devices", Short: "List the devices of your account", Args: cobra.NoArgs, Example: "  waxwing devices",
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := c.dial().Devices(cmd.Context())
			if err != nil {
				return err
			}
			c.warn(cmd)
			return c.print(cmd.OutOrStdout(), list, func(w io.Writer) error {
				for _, d := range list.Devices {
					note := ""
					if d.This {
						note = "  (this one)"
					}
					if _, err := fmt.Fprintf(w, "%s%s\n", plain(d.ID), note); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}
