package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/waxwing-dm/waxwing/agent/client"
)

func (c *cli) resync() *cobra.Command {
	return &cobra.Command{
		Use: "resync CONVERSATION", Short: "Come back into a conversation that this device cannot follow any more", Args: cobra.ExactArgs(1),
		Long: `Come back into a conversation with new keys. The agent does it by itself when it is sure
that it cannot follow; ask for it if messages of yours reach nobody, or those of others
cannot be read, and that does not end. You stay the member that you are. What others wrote
since then and could not be read stays missing here.`,
		Example: "  waxwing resync 4b1f",
		RunE:    func(cmd *cobra.Command, args []string) error { return c.resyncAndWait(cmd, args[0]) },
	}
}

// resyncAndWait asks for it and waits a while for it to be done.
func (c *cli) resyncAndWait(cmd *cobra.Command, what string) error {
	ctx, agent := cmd.Context(), c.dial()
	x, err := find(ctx, agent, what)
	if err != nil {
		return err
	}
	if x, err = agent.Resync(ctx, x.ID); err != nil {
		return err
	}
	if x, err = waitFor(ctx, agent, x, resyncTime, func(x client.Conversation) bool { return x.State != "paused" }); err != nil {
		return err
	}
	text := "This device is back in the conversation. What could not be read before stays missing here."
	if x.State != "active" {
		text = "Not done yet; the agent goes on trying. " + x.Reason
	}
	return c.say(cmd, x, text)
}

const resyncTime = 30 * time.Second
