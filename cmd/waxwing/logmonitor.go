package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/waxwing-dm/waxwing/agent/client"
)

func (c *cli) logMonitor() *cobra.Command {
	var fromStart, seen bool
	cmd := &cobra.Command{
		Use: "monitor", Short: "Watch your account now: read all that your instance's log has grown by", Args: cobra.NoArgs,
		Long: `The agent does this by itself, every hour. It looks your account up, reads every
entry that the log has grown by, checks that the entries make what the instance
has signed, and looks for changes to your account that this device has not made.

With --from-start the whole log is read again from its first entry, and every
rule that entries alone show is checked, for everybody's.`,
		Example: "  waxwing log monitor\n  waxwing log monitor --from-start\n  waxwing log monitor --seen    # you have dealt with what it had found",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if seen {
				logs, err := c.dial().AlarmsSeen(cmd.Context())
				if err != nil {
					return err
				}
				return c.printMonitor(cmd.OutOrStdout(), logs)
			}
			return c.runMonitor(cmd, fromStart)
		},
	}
	cmd.Flags().BoolVar(&fromStart, "from-start", false, "replay the whole log")
	cmd.Flags().BoolVar(&seen, "seen", false, "you have seen the alarms; do not show them again")
	cmd.MarkFlagsMutuallyExclusive("from-start", "seen")
	return cmd
}

func (c *cli) runMonitor(cmd *cobra.Command, fromStart bool) error {
	ctx, agent := cmd.Context(), c.dial()
	run, err := agent.Scan(ctx, fromStart)
	if err != nil {
		return err
	}
	logs, err := c.awaitScan(ctx, cmd.ErrOrStderr(), agent, run.Number)
	if err != nil {
		return err
	}
	if err := c.printMonitor(cmd.OutOrStdout(), logs); err != nil {
		return err
	}
	switch {
	case logs.Scan.Error != "":
		return fmt.Errorf("the log was not read to its end: %s", plain(logs.Scan.Error))
	case logs.Monitor == nil:
		return errors.New("your account was not looked up yet; log in first: waxwing login")
	}
	for _, a := range logs.Monitor.Alarms {
		if !a.Seen {
			return errors.New("something was found; see above")
		}
	}
	return nil
}

const progressEvery = 2 * time.Second

// awaitScan waits for a run to end and says now and then how far it is.
func (c *cli) awaitScan(ctx context.Context, w io.Writer, agent *client.Client, number uint64) (client.Logs, error) {
	said := time.Now()
	for {
		logs, err := agent.Logs(ctx)
		if err != nil {
			return logs, err
		}
		if s := logs.Scan; s.Number >= number && !s.Running {
			return logs, nil
		} else if !c.json && s.Total > 0 && time.Since(said) > progressEvery {
			if _, err := fmt.Fprintf(w, "read %d of %d entries …\n", s.Done, s.Total); err != nil {
				return logs, err
			}
			said = time.Now()
		}
		if err := pause(ctx, "not done yet; the agent goes on reading"); err != nil {
			return logs, err
		}
	}
}

func (c *cli) printMonitor(w io.Writer, logs client.Logs) error {
	return c.print(w, logs, func(w io.Writer) error {
		if logs.Monitor == nil {
			return nil
		}
		p := &printer{w: w}
		p.line("%s", plain(hostIn(logs.Monitor.Instance)))
		if logs.Scan.FromStart && logs.Scan.Error == "" {
			p.line("  all %d entries were replayed; each follows the rules", logs.Monitor.Target)
		}
		printWatch(p, *logs.Monitor)
		return p.err
	})
}

// warn shows how many wait and alarms that the person has not seen before something else that they asked for. Whether it can, the command
// itself says.
func (c *cli) warn(cmd *cobra.Command) {
	if list, err := c.dial().Requests(cmd.Context()); err == nil && len(list) > 0 && !c.json {
		fmt.Fprintf(cmd.ErrOrStderr(), "%d wait to be accepted: waxwing requests\n", len(list))
	}
	logs, err := c.dial().Logs(cmd.Context())
	if err != nil || logs.Monitor == nil || c.json {
		return
	}
	for _, a := range logs.Monitor.Alarms {
		if !a.Seen {
			fmt.Fprintf(cmd.ErrOrStderr(), "ALARM: %s\n  see: waxwing log show\n", plain(a.Detail))
		}
	}
}
