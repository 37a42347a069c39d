package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// slowLogin is when a person wants to know that something happens.
const slowLogin = 3 * time.Second

func (c *cli) login() *cobra.Command {
	var code string
	cmd := &cobra.Command{
		Use: "login HANDLE", Short: "Make this device one of your account", Args: cobra.ExactArgs(1),
		Long:    "Logs in with the login code that your instance's admin handed out, and publishes this device's keys. It can be repeated.",
		Example: "  waxwing login @alice@chat.example",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if code == "" {
				if code, err = askCode(cmd); err != nil {
					return err
				}
			}
			slow := time.AfterFunc(slowLogin, func() {
				fmt.Fprintln(cmd.ErrOrStderr(), "still at it: others see this device once the instance's witnesses have seen it; that can take a minute")
			})
			a, err := c.dial().Login(cmd.Context(), args[0], code)
			slow.Stop()
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), a, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "logged in as %s\nthis device is %s\n", plain(a.Handle), plain(a.Device))
				return err
			})
		},
	}
	cmd.Flags().StringVar(&code, "code", "", "the login code; it is asked for otherwise")
	return cmd
}

func askCode(cmd *cobra.Command) (string, error) {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 1024)).ReadString('\n')
		if strings.TrimSpace(line) == "" {
			return "", fmt.Errorf("give the login code with --code, or as a line of input: %w", err)
		}
		return strings.TrimSpace(line), nil
	}
	code, err := ask(cmd.ErrOrStderr(), int(os.Stdin.Fd()), "Login code: ")
	return strings.TrimSpace(string(code)), err
}

func (c *cli) contact() *cobra.Command {
	return &cobra.Command{
		Use: "contact HANDLE", Short: "Look somebody up in the directory", Args: cobra.ExactArgs(1),
		Example: "  waxwing contact @bob@elsewhere.example",
		RunE: func(cmd *cobra.Command, args []string) error {
			x, err := c.dial().Contact(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), x, func(w io.Writer) error {
				if x.State != "ready" {
					_, err := fmt.Fprintf(w, "%s has no device to encrypt to yet\n", plain(x.Handle))
					return err
				}
				if _, err := fmt.Fprintf(w, "%s can be written to; keys proven to be in the log of their instance\n", plain(x.Handle)); err != nil {
					return err
				}
				for _, id := range x.Devices {
					if _, err := fmt.Fprintf(w, "  device %s\n", plain(id)); err != nil {
						return err
					}
				}
				if x.Resets > 0 {
					_, err := fmt.Fprintf(w, "  keys were replaced %s without the old ones vouching for the new: ask them by another way\n", times(x.Resets))
					return err
				}
				return nil
			})
		},
	}
}

func (c *cli) devices() *cobra.Command {
	return &cobra.Command{
		Use: "devices", Short: "List the devices of your account", Args: cobra.NoArgs, Example: "  waxwing devices",
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := c.dial().Devices(cmd.Context())
			if err != nil {
				return err
			}
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

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
