package main

import "github.com/spf13/cobra"

// newLog has the commands about the logs that prove people's keys.
func (c *cli) newLog() *cobra.Command {
	cmd := &cobra.Command{
		Use: "log", Short: "Look at the logs that prove people's keys, and watch your own account in yours",
		Long:    "Each instance keeps a log of its people's devices. Nobody's keys are believed that are not proven to be in it.",
		Example: "  waxwing log show\n  waxwing log verify @bob@elsewhere.example\n  waxwing log monitor\n  waxwing log evidence",
	}
	cmd.AddCommand(c.logShow(), c.logVerify(), c.logMonitor(), c.newLogEvidence())
	return cmd
}
