package main

import "github.com/spf13/cobra"

// newLog has the commands about the logs that prove people's keys.
func (c *cli) newLog() *cobra.Command {
	cmd := &cobra.Command{
		Use: "log", Short: "Look at the logs that prove people's keys, and watch your own account in yours",
		Example: "  waxwing log show\n  waxwing log verify @bob@elsewhere.example\n  waxwing log monitor",
	}
	cmd.AddCommand(c.logShow(), c.logVerify(), c.logMonitor())
	return cmd
}
