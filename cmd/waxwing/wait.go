package main

import (
	"context"
	"errors"
	"time"

	"github.com/waxwing-dm/waxwing/agent/client"
)

// poll is how often the agent is asked whether something is done.
const poll = 200 * time.Millisecond

// waitFor looks at a conversation until it is as wanted, or for a time at the most.
func waitFor(ctx context.Context, agent *client.Client, x client.Conversation, most time.Duration, wanted func(client.Conversation) bool) (client.Conversation, error) {
	var err error
	for until := time.Now().Add(most); !wanted(x) && time.Now().Before(until); {
		if err := pause(ctx, "not done yet; the agent goes on trying"); err != nil {
			return x, err
		}
		if x, err = agent.Conversation(ctx, x.ID); err != nil {
			return x, err
		}
	}
	return x, nil
}

// pause passes the time until the agent is asked again. Who does not want to wait is told what goes on without them.
func pause(ctx context.Context, interrupted string) error {
	select {
	case <-time.After(poll):
		return nil
	case <-ctx.Done():
		return errors.New(interrupted)
	}
}
