package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/waxwing-dm/waxwing/sidecar/settings"
)

func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "What can be set, and whether it is set well",
		Long: `What can be set, with the defaults. "waxwingd init" writes a file with all of it.

` + settings.Help(),
	}
	cmd.AddCommand(newConfigCheck())
	return cmd
}

func newConfigCheck() *cobra.Command {
	var flags *settings.Flags
	cmd := &cobra.Command{
		Use: "check", Short: "Read the settings as serve would, and say what comes of them", Args: cobra.NoArgs,
		Example: "  waxwingd config check --config /etc/waxwingd.toml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := flags.Load(os.Environ())
			if err != nil {
				return err
			}
			return checkConfig(cmd.OutOrStdout(), in)
		},
	}
	flags = settings.Bind(cmd, settings.All...)
	return cmd
}

func checkConfig(out io.Writer, in settings.Loaded) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, name := range settings.All {
		fmt.Fprintf(t, "%s\t%s\n", in.Line(name), in.From(name)) //nolint:errcheck // Flush says it
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if !in.Standalone {
		return errStandalone
	}
	if _, err := loadPolicy(in.Witnesses); err != nil {
		return err
	}
	for _, remark := range remarks(in.Settings) {
		if _, err := fmt.Fprintln(out, "\nNote:", remark); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(out, "\nThese settings are in order.")
	return err
}

// remarks are about what may be meant.
func remarks(in settings.Settings) (all []string) {
	if in.Witnesses == "" {
		all = append(all, "nobody witnesses the log; your users' contacts have only this machine's word for their keys.")
	}
	if !isLoopback(in.AdminListen) {
		all = append(all, "admin_listen is not a loopback address: whoever reaches "+in.AdminListen+" sees how much goes on here.")
	}
	if !isLoopback(in.Listen) {
		all = append(all, "listen is not a loopback address: what comes there without TLS can be read and changed on its way.")
	}
	if _, err := os.Stat(in.Data); err != nil {
		all = append(all, "the data folder "+in.Data+" is not there yet; the first start makes it, with new keys.")
	}
	return all
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err != nil || host == "localhost" || net.ParseIP(host).IsLoopback()
}
