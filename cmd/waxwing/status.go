package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waxwing-dm/waxwing/agent/client"
)

func (c *cli) status() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Say what works, what waits and why, and what did not arrive", Args: cobra.NoArgs,
		Long: `Says in words whether your instance answers, what waits to be sent, what is
wrong in which conversation, and which messages did not reach everybody: what
has happened, what will happen by itself, and what you can do.`,
		Example: "  waxwing status",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.dial().Status(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), s, func(w io.Writer) error { return printStatus(w, s) })
		},
	}
}

func printStatus(w io.Writer, s client.Status) error {
	var b strings.Builder
	switch {
	case s.Account == nil:
		b.WriteString("no account yet; log in: waxwing login @you@your.instance\n")
	case s.Connected:
		fmt.Fprintf(&b, "%s: connected\n", plain(s.Account.Handle))
	case s.AwaySince == nil && s.Account.State == "ready":
		fmt.Fprintf(&b, "%s: reading what has come meanwhile; nothing is sent before that\n", plain(s.Account.Handle))
	default:
		fmt.Fprintf(&b, "%s: not connected\n", plain(s.Account.Handle))
	}
	writeTroubles(&b, "", s.Troubles)
	if s.Unsent > 0 {
		fmt.Fprintf(&b, "%s to be sent\n", count(s.Unsent, "message waits", "messages wait"))
	}
	for _, x := range s.Conversations {
		fmt.Fprintf(&b, "%.8s  %s%s\n", plain(x.ID), whoIsIn(x), unsent(x.Unsent))
		writeTroubles(&b, "  ", x.Troubles)
	}
	for _, m := range s.Undelivered {
		for _, u := range m.Undelivered {
			fmt.Fprintf(&b, "! “%s”, written on %s, was %s\n", short(plain(m.Text)), m.Time.Local().Format("Monday, 2 January at 15:04"), notDelivered(u.Handle, u.Detail, u.Code))
		}
	}
	if len(s.Undelivered) > 0 {
		b.WriteString("  That is final: it is not tried again. Send it once more when they can be reached, or tell them by another way.\n")
	}
	if s.Requests > 0 {
		fmt.Fprintf(&b, "%s to be accepted: waxwing requests\n", count(s.Requests, "person waits", "people wait"))
	}
	if s.Connected && len(s.Troubles)+len(s.Conversations)+len(s.Undelivered) == 0 {
		b.WriteString("nothing waits, and nothing is wrong\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func unsent(n int) string {
	if n == 0 {
		return ""
	}
	return "  [" + count(n, "message", "messages") + " to be sent]"
}

// writeTroubles writes each as what has happened, what will happen, and what to do.
func writeTroubles(b *strings.Builder, indent string, list []client.Trouble) {
	for _, x := range list {
		fmt.Fprintf(b, "%s! %s (%s)\n", indent, plain(x.Sentence), plain(x.Code))
		for _, line := range []string{x.Next, x.Help} {
			if line = strings.TrimSpace(plain(line)); line != "" {
				fmt.Fprintf(b, "%s  %s\n", indent, line)
			}
		}
	}
}

// whatHolds says in a sentence or two what keeps a message from being sent; empty if nothing is known of that.
func whatHolds(ctx context.Context, agent *client.Client, m client.Message) (string, error) {
	s, err := agent.Status(ctx)
	if err != nil {
		return "", err
	}
	for _, x := range s.Troubles {
		if x.Code == "instance_unreachable" || x.Code == "login_required" {
			return x.Sentence + " " + x.Next, nil
		}
	}
	for _, c := range s.Conversations {
		if c.ID != m.Conversation {
			continue
		}
		for _, x := range c.Troubles {
			if m.State == "queued" && c.Reason != "" && strings.HasPrefix(c.Reason, x.Code+": ") {
				return strings.TrimSpace(x.Sentence + " " + x.Next + " " + x.Help), nil
			}
		}
	}
	return "", nil
}
