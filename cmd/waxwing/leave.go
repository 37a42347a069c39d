package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/waxwing-dm/waxwing/agent/client"
)

func (c *cli) leave() *cobra.Command {
	var admin string
	cmd := &cobra.Command{
		Use: "leave CONVERSATION", Short: "Leave a conversation; you read nothing that follows", Args: cobra.ExactArgs(1),
		Long: `Leave a conversation. What you have received stays readable on this device; nothing
that follows is for you, and nothing more is sent by you from now on.

Somebody else's program has to take you out, which it does by itself when it is next
running. If you are the only admin, name who is to be one after you.`,
		Example: "  waxwing leave 4b1f\n  waxwing leave 4b1f --admin @bob@elsewhere.example",
		RunE:    func(cmd *cobra.Command, args []string) error { return c.leaveAndWait(cmd, args[0], admin) },
	}
	cmd.Flags().StringVar(&admin, "admin", "", "member who is made an admin first")
	return cmd
}

// leaveAndWait asks to leave and waits a while for somebody to do it.
func (c *cli) leaveAndWait(cmd *cobra.Command, what, admin string) error {
	ctx, agent := cmd.Context(), c.dial()
	x, err := find(ctx, agent, what)
	if err != nil {
		return err
	}
	asked := time.Now()
	if x, err = agent.Leave(ctx, x.ID, admin); err != nil {
		return err
	}
	if x, err = waitFor(ctx, agent, x, partTime, func(x client.Conversation) bool { return x.State != "leaving" }); err != nil {
		return err
	}
	if x.State != "left" && x.State != "leaving" {
		return fmt.Errorf("it was not done%s", why(ctx, agent, func(e client.Event) bool {
			return e.Type == "member.failed" && e.Conversation == x.ID && e.Time.After(asked)
		}))
	}
	text := "You have left the conversation. What you received stays readable here."
	if x.State == "leaving" {
		text = "You are leaving: nothing is sent by you any more, and the next of the others whose program runs takes you out. Until then you can read."
	}
	return c.say(cmd, x, text)
}

// partTime is how long to wait for others before saying that it may take a while.
const partTime = 10 * time.Second
