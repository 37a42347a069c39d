package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/waxwing-dm/waxwing/sidecar"
	"github.com/waxwing-dm/waxwing/sidecar/admin"
	"github.com/waxwing-dm/waxwing/sidecar/settings"
)

func newStatus() *cobra.Command {
	var flags *settings.Flags
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status", Short: "Say how the running sidecar is doing, and what to do", Args: cobra.NoArgs,
		Long: `Asks the sidecar at its admin_listen address how it is doing: whether it takes calls, whether its log is witnessed and by whom, what
waits to be delivered, and the disk. The exit status is 1 if it should get no calls now.`,
		Example: "  waxwingd status --config /etc/waxwingd.toml\n  waxwingd status --admin-listen 127.0.0.1:8490 --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := flags.Load(os.Environ())
			if err != nil {
				return err
			}
			report, text, err := askStatus(cmd.Context(), in.AdminListen)
			if err != nil {
				return err
			}
			if asJSON {
				_, err = cmd.OutOrStdout().Write(text)
			} else {
				err = printStatus(cmd.OutOrStdout(), report, time.Now())
			}
			if err == nil && !report.Ready {
				err = errors.New("it is not ready for calls")
			}
			return err
		},
	}
	flags = settings.Bind(cmd, "admin_listen")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what the sidecar answers, for programs")
	return cmd
}

const (
	statusTime = 20 * time.Second
	maxStatus  = 1 << 20
)

func askStatus(ctx context.Context, address string) (report admin.Report, text []byte, err error) {
	if address == "" {
		return report, nil, errors.New(`"admin_listen" is empty: the sidecar does not say how it is doing`)
	}
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/status", nil)
	if err != nil {
		return report, nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return report, nil, fmt.Errorf("nobody answers at %s; is the sidecar running, and is that its admin_listen?: %w", address, errors.Unwrap(err))
	}
	defer res.Body.Close()
	if text, err = io.ReadAll(io.LimitReader(res.Body, maxStatus)); err == nil {
		err = json.Unmarshal(text, &report)
	}
	if err != nil || res.StatusCode != http.StatusOK {
		return report, nil, fmt.Errorf("what answers at %s is not a sidecar (%s)", address, res.Status)
	}
	return report, text, nil
}

func printStatus(out io.Writer, r admin.Report, now time.Time) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...)) //nolint:errcheck // Flush says it
	}
	s := r.Status
	if s.Instance != "" {
		row("Instance", "%s", s.Instance)
	}
	row("Running", "waxwingd %s, for %s", r.Version, span(now.Sub(r.Started)))
	row("Ready", "%s", readiness(s))
	if s.Instance != "" {
		row("Log", "%s", logWords(s.Log, now))
		for _, w := range s.Log.Witnesses {
			row("", "%s", witnessWords(w, now))
		}
		row("Deliveries", "%s", deliveryWords(s.Deliveries))
		row("Mailboxes", "%s for devices of your users", waits(s.Mailboxes, "message"))
		row("Disk", "the database has %s, %s are free", size(s.Disk.Database+s.Disk.Journal), size(s.Disk.Free))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, what := range toDo(s, now) {
		if _, err := fmt.Fprintln(out, "\nTo do:", what); err != nil {
			return err
		}
	}
	return nil
}

func readiness(s sidecar.Status) string {
	if len(s.NotReady) == 0 {
		return "yes, it takes calls"
	}
	var why []string
	for _, t := range s.NotReady {
		why = append(why, t.Detail+" ("+t.Code+")")
	}
	return "no: " + strings.Join(why, "; ")
}

func logWords(l sidecar.LogStatus, now time.Time) string {
	switch {
	case !l.Witnessed:
		return count(l.Entries, "entry", "entries") + "; nobody witnesses the log"
	case l.Served == 0:
		return count(l.Entries, "entry", "entries") + ", nothing witnessed yet"
	case l.Served < l.Entries:
		return fmt.Sprintf("%s, witnessed up to %d as of %s; the rest waits: %s", count(l.Entries, "entry", "entries"), l.Served, ago(l.AsOf, now), l.Waiting)
	}
	return fmt.Sprintf("%s, all witnessed as of %s", count(l.Entries, "entry", "entries"), ago(l.AsOf, now))
}

func witnessWords(w sidecar.Witness, now time.Time) string {
	switch {
	case !w.Cosigned:
		return w.Name + ": has not cosigned what is served"
	case w.At == 0:
		return w.Name + ": cosigned"
	}
	return w.Name + ": cosigned " + ago(w.At, now)
}

func deliveryWords(d sidecar.DeliveriesStatus) string {
	text := "nothing waits for other servers"
	if d.Waiting > 0 {
		text = fmt.Sprintf("%s for other servers, the oldest for %s; being tried: %d; held back until their next try: %s",
			waits(d.Waiting, "delivery"), span(time.Duration(d.Oldest)*time.Second), d.InFlight, count(d.Held, "host", "hosts"))
	}
	if d.Dead > 0 {
		text += fmt.Sprintf("; given up in the last 30 days: %d", d.Dead)
	}
	return text
}

const (
	stale    = 6 * time.Hour  // from then on users' programs say so
	oldQueue = 24 * time.Hour // an instance that is away for longer may be gone
	littleGB = 1 << 30
)

var remedies = map[string]string{
	"log_unchecked": "see that the witnesses can be reached from here; until enough have said what they know of the log, nobody can log in for the first time or change devices.",
	"log_stopped":   "the log must not go on from this data folder. The end of the sidecar's own log says what to do.",
	"store_failing": "see that the data folder is there, can be written to, and that its disk is in order.",
	"disk_low":      "make room on the disk of the data folder.",
}

// toDo is what an operator can do about it.
func toDo(s sidecar.Status, now time.Time) (all []string) {
	for _, t := range s.NotReady {
		if remedy, ok := remedies[t.Code]; ok {
			all = append(all, remedy)
		}
	}
	if s.Instance == "" {
		return all
	}
	if !s.Log.Witnessed {
		all = append(all, `choose witnesses ("witnesses" in the settings): now nobody but you can know that everybody is shown the same keys.`)
	} else if at := time.Unix(s.Log.AsOf, 0); s.Log.Served > 0 && now.Sub(at) > stale {
		all = append(all, "the log has not been witnessed for "+span(now.Sub(at))+"; after 24 hours your users' contacts do not believe it any more. Ask the witnesses that are missing.")
	}
	if time.Duration(s.Deliveries.Oldest)*time.Second > oldQueue {
		all = append(all, "a server has not taken its messages for more than a day. If others can reach it, look for \"delivery\" in the log; they are given up after 7 days.")
	}
	if s.Disk.Free < littleGB && s.Disk.Free >= sidecar.LowDisk {
		all = append(all, "less than 1 GiB is left on the disk: make room before calls are refused.")
	}
	return all
}

func ago(second int64, now time.Time) string {
	if second == 0 {
		return "no known time"
	}
	return span(now.Sub(time.Unix(second, 0))) + " ago"
}

func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func waits(n int64, what string) string {
	switch {
	case n == 0:
		return "nothing waits"
	case n == 1:
		return "1 " + what + " waits"
	}
	return fmt.Sprintf("%d %s wait", n, plurals[what])
}

var plurals = map[string]string{"message": "messages", "delivery": "deliveries"}

// span is a duration as people say it.
func span(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}

func size(n int64) string {
	switch {
	case n < 10<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	case n < 10<<30:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d GiB", n>>30)
}
