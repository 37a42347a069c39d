package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waxwing-dm/waxwing/agent/client"
)

func (c *cli) logShow() *cobra.Command {
	return &cobra.Command{
		Use: "show [HANDLE | INSTANCE]", Short: "Show what is known of the logs, and what watching your account has found", Args: cobra.MaximumNArgs(1),
		Long: `Every instance keeps a log of all that ever happened to its people's devices. This
device remembers the key of each log that it has met, and how far it has seen it
grow. Its own instance's log it reads entry by entry, and looks for changes to
your account that this device has not made.`,
		Example: "  waxwing log show\n  waxwing log show @bob@elsewhere.example",
		RunE: func(cmd *cobra.Command, args []string) error {
			logs, err := c.dial().Logs(cmd.Context())
			if err != nil {
				return err
			}
			if len(args) == 1 {
				if logs, err = only(logs, args[0]); err != nil {
					return err
				}
			}
			return c.print(cmd.OutOrStdout(), logs, func(w io.Writer) error { return printLogs(w, logs) })
		},
	}
}

// only keeps the log of the instance of a handle, a host or a URL.
func only(logs client.Logs, what string) (client.Logs, error) {
	host := strings.ToLower(strings.TrimSuffix(what[strings.LastIndexByte(what, '@')+1:], "/"))
	if _, after, ok := strings.Cut(host, "://"); ok {
		host = after
	}
	out := client.Logs{Logs: []client.Log{}, Scan: logs.Scan}
	for _, l := range logs.Logs {
		if hostIn(l.Instance) == host {
			out.Logs = append(out.Logs, l)
			if l.Own {
				out.Monitor = logs.Monitor
			}
		}
	}
	if len(out.Logs) == 0 {
		return out, fmt.Errorf("the log of %s is not known on this device yet; look somebody there up: waxwing contact @NAME@%s", plain(host), plain(host))
	}
	return out, nil
}

func hostIn(instance string) string {
	_, host, _ := strings.Cut(instance, "://")
	return host
}

func printLogs(w io.Writer, logs client.Logs) error {
	p := &printer{w: w}
	for _, l := range logs.Logs {
		own := ""
		if l.Own {
			own = "  (your instance)"
		}
		p.line("%s%s", plain(hostIn(l.Instance)), own)
		p.line("  log     %s", plain(l.Origin))
		p.line("  key     %s", plain(l.Key))
		if l.Size == 0 {
			p.line("  size    nothing was proven by it yet")
		} else {
			p.line("  size    %d entries, root %.16s…", l.Size, plain(l.Root))
		}
		if l.Own && logs.Monitor != nil {
			printWatch(p, *logs.Monitor)
		}
	}
	if len(logs.Logs) == 0 {
		p.line("no log is known yet")
	}
	return p.err
}

func printWatch(p *printer, m client.Monitor) {
	switch {
	case m.Trouble != "":
		p.line("  watched up to entry %d of %d; it goes no further since %s: %s", m.Read, m.Target, moment(m.Since), plain(m.Trouble))
	case m.Read < m.Target:
		p.line("  watched up to entry %d of %d; waxwing log monitor reads the rest now", m.Read, m.Target)
	default:
		p.line("  watched from entry %d to the last, %d; read on %s", m.Started, m.Read, moment(m.Scanned))
	}
	printAlarms(p, m)
}

// printAlarms writes those that the person has not seen, or that there are none.
func printAlarms(p *printer, m client.Monitor) {
	unseen := 0
	for _, a := range m.Alarms {
		if a.Seen {
			continue
		}
		unseen++
		at := ""
		if a.Index != nil {
			at = fmt.Sprintf(" [entry %d]", *a.Index)
		}
		p.line("  ALARM: %s%s", plain(a.Detail), at)
		p.line("    %s", plain(a.Help))
	}
	if m.More > 0 {
		p.line("  ALARM: and %d more changes of that kind", m.More)
	}
	switch {
	case unseen > 0:
		p.line("  when you have dealt with it: waxwing log monitor --seen")
	case len(m.Alarms) > 0:
		p.line("  no alarm that you have not seen")
	default:
		p.line("  nothing was found that this device has not done itself")
	}
}

func moment(t *time.Time) string {
	if t == nil {
		return "no day yet"
	}
	return t.Local().Format("2 January 2006 15:04")
}

// printer writes lines until one fails.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}
