package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waxwing-dm/waxwing/agent/client"
)

func (c *cli) requests() *cobra.Command {
	cmd := &cobra.Command{
		Use: "requests", Short: "Show who wants to write to you for the first time, and decide", Args: cobra.NoArgs,
		Long: `Who you have neither written to nor accepted has to wait. Until you decide, they
learn nothing: not that you have seen it, nor that you are there at all. What they
have written is shown when you look at it.

Writing to somebody first accepts them, too.`,
		Example: "  waxwing requests\n  waxwing requests look @dave@elsewhere.example\n  waxwing requests accept @dave@elsewhere.example\n  waxwing requests from nobody",
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := c.dial().Requests(cmd.Context())
			if err != nil {
				return err
			}
			return c.printRequests(cmd.OutOrStdout(), list)
		},
	}
	cmd.AddCommand(c.lookAtRequest(),
		c.decide("accept", "Let them write to you, and join the conversation"),
		c.decide("delete", "Forget it, and for a month what follows it; they are not told"),
		c.about("block", "Show nothing of what they write, ever; they are not told", (*client.Client).Block),
		c.about("unblock", "Let somebody write again whom you have blocked", (*client.Client).Unblock),
		c.from())
	return cmd
}

func (c *cli) printRequests(w io.Writer, list []client.Request) error {
	return c.print(w, client.Requests{Requests: list}, func(w io.Writer) error {
		if len(list) == 0 {
			_, err := fmt.Fprintln(w, "Nobody waits.")
			return err
		}
		for _, r := range list {
			if _, err := fmt.Fprintf(w, "%s  %s wants to write (%d hidden)\n", r.Time.Local().Format("2006-01-02 15:04"), plain(r.Handle), r.Waiting); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintln(w, "\nwaxwing requests look | accept | delete | block HANDLE")
		return err
	})
}

// waiting finds the request of somebody.
func waiting(ctx context.Context, agent *client.Client, handle string) (client.Request, error) {
	list, err := agent.Requests(ctx)
	if err != nil {
		return client.Request{}, err
	}
	for _, r := range list {
		if r.Handle == normal(handle) {
			return r, nil
		}
	}
	return client.Request{}, fmt.Errorf("%s does not wait; who does: waxwing requests", plain(handle))
}

func (c *cli) lookAtRequest() *cobra.Command {
	return &cobra.Command{
		Use: "look HANDLE", Short: "Show what they have written, without their knowing", Args: cobra.ExactArgs(1),
		Example: "  waxwing requests look @dave@elsewhere.example",
		RunE: func(cmd *cobra.Command, args []string) error {
			agent := c.dial()
			r, err := waiting(cmd.Context(), agent, args[0])
			if err != nil {
				return err
			}
			p, err := agent.LookAt(cmd.Context(), r.Conversation)
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), p, func(w io.Writer) error { return printPreview(w, p) })
		},
	}
}

func printPreview(w io.Writer, p client.Preview) error {
	if _, err := fmt.Fprintf(w, "%s asks you into a conversation of %s. Nobody's keys were looked up yet: it may be somebody else.\n",
		plain(p.Handle), plain(strings.Join(p.Members, ", "))); err != nil {
		return err
	}
	for _, m := range p.Messages {
		text := lines(m.Text, "  ")
		if m.Kind == "unsupported" {
			text = "(something that this version cannot show)"
		}
		for _, a := range m.Attachments {
			text += fmt.Sprintf(" [file %s, %d bytes]", plain(a.Name), a.Size)
		}
		if _, err := fmt.Fprintf(w, "  %s: %s\n", plain(m.Sender), strings.TrimSpace(text)); err != nil {
			return err
		}
	}
	if n := p.Waiting - len(p.Messages); n > 0 {
		_, err := fmt.Fprintf(w, "  (%d more, which can be read once it is accepted)\n", n)
		return err
	}
	return nil
}

func (c *cli) decide(decision, short string) *cobra.Command {
	return &cobra.Command{
		Use: decision + " HANDLE", Short: short, Args: cobra.ExactArgs(1), Example: "  waxwing requests " + decision + " @dave@elsewhere.example",
		RunE: func(cmd *cobra.Command, args []string) error {
			agent := c.dial()
			r, err := waiting(cmd.Context(), agent, args[0])
			if err != nil {
				return err
			}
			list, err := agent.Decide(cmd.Context(), r.Conversation, decision)
			if err != nil {
				return err
			}
			said := map[string]string{
				"accept": fmt.Sprintf("%s may write to you now. To read: waxwing read %.8s", plain(r.Handle), plain(r.Conversation)),
				"delete": "Forgotten. " + plain(r.Handle) + " is not told.",
			}
			return c.say(cmd, client.Requests{Requests: list}, said[decision])
		},
	}
}

func (c *cli) about(what, short string, do func(*client.Client, context.Context, string) (client.Consent, error)) *cobra.Command {
	return &cobra.Command{
		Use: what + " HANDLE", Short: short, Args: cobra.ExactArgs(1), Example: "  waxwing requests " + what + " @dave@elsewhere.example",
		RunE: func(cmd *cobra.Command, args []string) error {
			now, err := do(c.dial(), cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.printConsent(cmd, now)
		},
	}
}

func (c *cli) from() *cobra.Command {
	return &cobra.Command{
		Use: "from [everybody | requests | nobody]", Short: "Show or set who may write to you unasked", Args: cobra.MaximumNArgs(1),
		Long: `Without a word, shows who may write to you. everybody: at once; requests: they wait
until you accept them, which is so unless you say otherwise; nobody: only those you
have written to or accepted.`,
		ValidArgs: []string{"everybody", "requests", "nobody"},
		Example:   "  waxwing requests from\n  waxwing requests from nobody",
		RunE: func(cmd *cobra.Command, args []string) error {
			agent := c.dial()
			if len(args) == 0 {
				now, err := agent.Consent(cmd.Context())
				if err != nil {
					return err
				}
				return c.printConsent(cmd, now)
			}
			now, err := agent.SetConsent(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.printConsent(cmd, now)
		},
	}
}

func (c *cli) printConsent(cmd *cobra.Command, now client.Consent) error {
	text := map[string]string{
		"everybody": "Everybody may write to you.",
		"requests":  "Who you have neither written to nor accepted waits: waxwing requests",
		"nobody":    "Nobody may write to you but those you have written to or accepted.",
	}[now.From]
	if len(now.Blocked) > 0 {
		text += "\nBlocked: " + plain(strings.Join(now.Blocked, ", "))
	}
	return c.say(cmd, now, text)
}
