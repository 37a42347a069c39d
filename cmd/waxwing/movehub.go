package main

import (
	"fmt"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/waxwing-dm/waxwing/agent/client"
)

func (c *cli) moveHub() *cobra.Command {
	return &cobra.Command{
		Use: "move-hub CONVERSATION INSTANCE", Short: "Have another member's instance keep the order of changes", Args: cobra.ExactArgs(2),
		Long: `Each conversation has one instance that keeps the order in which people are added
and removed. It reads nothing, and messages do not need it. An admin can move that
to the instance of any member, before the present one goes away for good, say.
One that is away for a day is replaced without this.`,
		Example: "  waxwing move-hub 4b1f elsewhere.example",
		RunE:    func(cmd *cobra.Command, args []string) error { return c.moveAndWait(cmd, args[0], args[1]) },
	}
}

// moveAndWait asks for the move and waits until the next hub has begun.
func (c *cli) moveAndWait(cmd *cobra.Command, what, instance string) error {
	ctx, agent := cmd.Context(), c.dial()
	x, err := find(ctx, agent, what)
	if err != nil {
		return err
	}
	origin, host, err := instanceOfMember(x, instance)
	if err != nil {
		return err
	}
	if x, err = agent.MoveHub(ctx, x.ID, origin); err != nil {
		return err
	}
	if x, err = waitFor(ctx, agent, x, moveTime, func(x client.Conversation) bool { return x.Hub == host }); err != nil {
		return err
	}
	text := plain(host) + " keeps the order of changes now."
	if x.Hub != host {
		text = "Asked for. The move waits for " + plain(x.Hub) + " or " + plain(host) + " to answer; your agent goes on trying."
	}
	return c.say(cmd, x, text)
}

// instanceOfMember finds the instance that a person means, by its host or origin.
func instanceOfMember(x client.Conversation, instance string) (origin, host string, err error) {
	for _, m := range x.Members {
		u, err := url.Parse(m.Actor)
		if err == nil && (u.Host == instance || u.Scheme+"://"+u.Host == instance) {
			return u.Scheme + "://" + u.Host, u.Host, nil
		}
	}
	return "", "", fmt.Errorf("%s is the instance of nobody in the conversation", plain(instance))
}

// moveTime is how long to wait for two instances before saying that it may take a while.
const moveTime = 30 * time.Second
