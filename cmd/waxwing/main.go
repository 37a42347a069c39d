// Command waxwing is the agent on a person's device, and the command line that talks to it. `waxwing help` shows what it can do.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/waxwing-dm/waxwing/agent/client"
	"github.com/waxwing-dm/waxwing/agent/localapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, newCommand(nil))
	stop()
	os.Exit(code)
}

// run returns the exit status.
func run(ctx context.Context, root *cobra.Command) int {
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(root.ErrOrStderr(), "waxwing:", explain(err))
		return 1
	}
	return 0
}

// explain writes an error with what to do next.
func explain(err error) string {
	var p *problem.Problem
	if !errors.As(err, &p) {
		return err.Error()
	}
	text := plain(p.Detail)
	for _, name := range []string{"who", "errors"} {
		list, _ := p.Extra[name].([]any)
		for _, x := range list {
			text += "\n  " + plain(fmt.Sprint(x))
		}
	}
	if help, ok := p.Extra["help"].(string); ok {
		text += "\n  " + plain(help)
	}
	return text + " (" + plain(p.Code) + ")"
}

// cli is what all commands share.
type cli struct {
	home  string
	json  bool
	hosts map[string]string // of agent.Config; only tests name any
}

func newCommand(hosts map[string]string) *cobra.Command {
	c := &cli{hosts: hosts}
	root := &cobra.Command{
		Use: "waxwing", Short: "Direct messages in the Fediverse that only the people in a conversation can read",
		Long: `Direct messages in the Fediverse that only the people in a conversation can read.

"waxwing agent" runs on your device and holds your keys; the other commands
talk to it. To see it all work on this machine alone, with two servers and
three people: waxwing sandbox --demo`,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&c.home, "home", defaultHome(), "folder of keys and messages; also WAXWING_HOME")
	root.PersistentFlags().BoolVar(&c.json, "json", false, "write JSON, one object a line, for programs")
	root.AddCommand(c.agent(), c.login(), c.status(), c.send(), c.read(), c.save(), c.conversations(), c.members(), c.admin(),
		c.leave(), c.resync(), c.moveHub(), c.requests(), c.devices(), c.device(), c.contact(), c.newLog(),
		newSandbox(), c.version())
	return root
}

// defaultHome follows the XDG base directories.
func defaultHome() string {
	if home := os.Getenv("WAXWING_HOME"); home != "" {
		return home
	}
	if data := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(data) {
		return filepath.Join(data, "waxwing")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "waxwing-home"
	}
	return filepath.Join(home, ".local", "share", "waxwing")
}

// dial reaches the agent of the home.
func (c *cli) dial() *client.Client { return client.Unix(localapi.SocketPath(c.home)) }

// print writes v for programs, or calls f to write for people.
func (c *cli) print(w io.Writer, v any, f func(io.Writer) error) error {
	if c.json {
		return json.NewEncoder(w).Encode(v)
	}
	return f(w)
}

// say prints one sentence.
func (c *cli) say(cmd *cobra.Command, v any, text string) error {
	return c.print(cmd.OutOrStdout(), v, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, text)
		return err
	})
}

func (c *cli) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Example: "  waxwing version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			version := "unknown"
			if info, ok := debug.ReadBuildInfo(); ok {
				version = info.Main.Version
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "waxwing", version)
			return err
		},
	}
}
