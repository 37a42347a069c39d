package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/waxwing-dm/waxwing/agent/client"
)

func (c *cli) members() *cobra.Command {
	cmd := &cobra.Command{
		Use: "members CONVERSATION", Short: "Show, add or remove the people of a conversation", Args: cobra.ExactArgs(1),
		Example: "  waxwing members 4b1f\n  waxwing members add 4b1f @carol@chat.example\n  waxwing members remove 4b1f @bob@elsewhere.example",
		RunE: func(cmd *cobra.Command, args []string) error {
			x, err := find(cmd.Context(), c.dial(), args[0])
			if err != nil {
				return err
			}
			return c.printMembers(cmd.OutOrStdout(), x)
		},
	}
	add := &cobra.Command{
		Use: "add CONVERSATION HANDLE...", Short: "Add people; they read what comes after, and nothing from before", Args: cobra.MinimumNArgs(2),
		Example: "  waxwing members add 4b1f @carol@chat.example",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.change(cmd, args[0], func(ctx context.Context, agent *client.Client, id string) (err error) {
				_, err = agent.AddMembers(ctx, id, args[1:]...)
				return err
			}, isThere, args[1:])
		},
	}
	remove := &cobra.Command{
		Use: "remove CONVERSATION HANDLE", Short: "Remove somebody; they read nothing that follows", Args: cobra.ExactArgs(2),
		Example: "  waxwing members remove 4b1f @bob@elsewhere.example",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.change(cmd, args[0], func(ctx context.Context, agent *client.Client, id string) (err error) {
				_, err = agent.RemoveMember(ctx, id, args[1])
				return err
			}, func(x client.Conversation, handle string) bool { return !isThere(x, handle) }, args[1:])
		},
	}
	cmd.AddCommand(add, remove)
	return cmd
}

func isThere(x client.Conversation, handle string) bool {
	_, there := memberOf(x, handle)
	return there
}

// memberOf finds somebody by what a person calls them.
func memberOf(x client.Conversation, handle string) (client.Member, bool) {
	i := slices.IndexFunc(x.Members, func(m client.Member) bool { return m.Handle == normal(handle) })
	if i < 0 {
		return client.Member{}, false
	}
	return x.Members[i], true
}

// change asks for a change of members and waits until the conversation's order has it.
func (c *cli) change(cmd *cobra.Command, what string, ask func(context.Context, *client.Client, string) error, done func(client.Conversation, string) bool, handles []string) error {
	ctx, agent := cmd.Context(), c.dial()
	x, err := find(ctx, agent, what)
	if err != nil {
		return err
	}
	asked := time.Now()
	if err := ask(ctx, agent, x.ID); err != nil {
		return err
	}
	for waited := false; ; {
		if x, err = agent.Conversation(ctx, x.ID); err != nil {
			return err
		}
		if x.Waiting == 0 {
			break
		}
		if !waited && !c.json {
			if _, err := fmt.Fprintln(cmd.ErrOrStderr(), "waiting for the conversation's hub … (Ctrl-C leaves it to the agent)"); err != nil {
				return err
			}
			waited = true
		}
		if err := pause(ctx, "not done yet; the agent goes on trying"); err != nil {
			return err
		}
	}
	for _, h := range handles {
		if !done(x, h) {
			reason := why(ctx, agent, func(e client.Event) bool {
				return e.Type == "member.failed" && e.Conversation == x.ID && e.Handle == normal(h) && e.Time.After(asked)
			})
			return fmt.Errorf("%s: it was not done%s", plain(h), reason)
		}
	}
	return c.printMembers(cmd.OutOrStdout(), x)
}

func (c *cli) printMembers(w io.Writer, x client.Conversation) error {
	return c.print(w, x, func(w io.Writer) error { return printConversation(w, x) })
}
