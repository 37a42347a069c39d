package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/waxwing-dm/waxwing/agent/client"
)

func (c *cli) admin() *cobra.Command {
	var remove bool
	cmd := &cobra.Command{
		Use: "admin CONVERSATION HANDLE", Short: "Make a member an admin of a conversation, or take that back", Args: cobra.ExactArgs(2),
		Long: `Admins add and remove people and make others admins. Who starts a conversation is
its only one at first.

It is wise to have two or three, on different instances: when the instance that
keeps the order of changes is away for a day, more than half of the admins have
another one take over. Without them the members can do that after a week, and
then nobody can be added or removed until an admin is back.`,
		Example: "  waxwing admin 4b1f @bob@elsewhere.example\n  waxwing admin 4b1f @bob@elsewhere.example --remove",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.change(cmd, args[0], func(ctx context.Context, agent *client.Client, id string) (err error) {
				_, err = agent.SetAdmin(ctx, id, args[1], !remove)
				return err
			}, func(x client.Conversation, handle string) bool {
				m, there := memberOf(x, handle)
				return there && m.Admin != remove
			}, args[1:])
		},
	}
	cmd.Flags().BoolVar(&remove, "remove", false, "they are an admin no more")
	return cmd
}
