package localapi

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/waxwing-dm/waxwing/agent"
	"github.com/waxwing-dm/waxwing/agent/client"
	"github.com/waxwing-dm/waxwing/device"
)

// believedOf says why a contact's keys are believed; problem is why there is no newer proof, if there is none.
func believedOf(c device.Contact, problem string, now time.Time) *client.Believed {
	b := c.Belief
	if b == nil {
		return nil
	}
	out := &client.Believed{
		Log: b.Log, Size: b.Size, AsOf: timeOf(b.AsOf), Witnesses: []client.Witness{}, Auditor: b.Auditor, Checked: timeOf(b.Checked),
		FirstSeen: timeOf(b.First), LogPinned: timeOf(b.Pinned), Unchanged: timeOf(b.Unchanged), Resets: c.Resets, Stale: b.Stale, Problem: problem,
		Sentence: reasons{c, b, now}.String(),
	}
	for _, w := range b.Witnesses {
		out.Witnesses = append(out.Witnesses, client.Witness{Name: w.Name, Domain: w.Domain, Time: timeOf(w.Time), Counts: w.Counts})
	}
	if problem != "" {
		out.Sentence += " There is no newer proof: " + problem + "."
	}
	return out
}

// reasons are what makes a contact's keys believable, in plain words, and what is missing.
type reasons struct {
	device.Contact
	b   *device.Belief
	now time.Time
}

func (r reasons) String() string {
	return strings.Join(append(append(append([]string{r.keys()}, r.log()...), r.witnesses()...), r.history()...), " ")
}

// host of the person's instance.
func (r reasons) host() string {
	u, err := url.Parse(r.Actor)
	if err != nil {
		return r.Actor
	}
	return u.Host
}

func (r reasons) keys() string {
	text := fmt.Sprintf("%s: %s", agent.HandleOf(r.Actor), count(len(r.Devices), "device"))
	if !r.b.Unchanged.IsZero() {
		text += ", unchanged since " + day(r.b.Unchanged)
	}
	return text + "."
}

func (r reasons) log() []string {
	switch {
	case r.b.Checked.IsZero():
		return []string{"The newest lookup proved nothing about them; this is what an earlier one did."}
	case r.b.Log == "":
		return []string{"It was proven " + ago(r.now, r.b.Checked) + "."}
	}
	return []string{fmt.Sprintf("The log of %s (%s) proved %s that this list is the newest.", r.host(), entries(r.b.Size), ago(r.now, r.b.Checked))}
}

// witnesses is who else has seen that log. Without them all of the above is one instance's word.
func (r reasons) witnesses() (text []string) {
	alone := fmt.Sprintf("%s could be showing you another log than it shows others", r.host())
	switch {
	case r.b.AsOf.IsZero() && !r.b.Asked:
		return []string{"No witness is asked for: " + alone + "."}
	case r.b.AsOf.IsZero():
		return []string{"The witnesses you ask for were not asked then: " + alone + "."}
	}
	var seen, audited, excepted []string
	for _, w := range r.b.Witnesses {
		name := fmt.Sprintf("%s (%s)", w.Name, w.Domain)
		switch {
		case !w.Counts:
			excepted = append(excepted, name)
		case w.Auditor:
			audited = append(audited, name)
		default:
			seen = append(seen, name)
		}
	}
	var by []string
	if len(seen) > 0 {
		by = append(by, "seen by "+and(seen))
	}
	if len(audited) > 0 {
		by = append(by, "audited by "+and(audited))
	}
	text = append(text, fmt.Sprintf("As of %s it was %s.", ago(r.now, r.b.AsOf), strings.Join(by, " and ")))
	if len(audited) == 0 {
		text = append(text, "No auditor vouches that everything in that log was signed as promised.")
	}
	if len(excepted) > 0 {
		text = append(text, "Not counted, being of that instance or yours: "+and(excepted)+".")
	}
	return text
}

// history is how the person was met, and what happened since.
func (r reasons) history() (text []string) {
	if r.b.Stale {
		text = append(text, "That is long ago; a newer proof is asked for.")
	}
	if !r.b.Pinned.IsZero() {
		line := ""
		if strings.HasPrefix(r.Actor, "https://") {
			line = ", over TLS"
		}
		text = append(text, fmt.Sprintf("The key of that log came from %s itself on %s%s.", r.host(), day(r.b.Pinned), line))
	}
	switch {
	case r.Resets == 0 && r.b.First.IsZero():
		text = append(text, "No reset was seen.")
	case r.Resets == 0:
		text = append(text, "First met on "+day(r.b.First)+"; no reset since.")
	default:
		what := "replaced"
		if len(r.Devices) == 0 {
			what = "replaced or erased"
		}
		text = append(text, fmt.Sprintf("Their keys were %s %s without the old ones vouching for it, last seen on %s.", what, count(r.Resets, "time"), day(r.b.First)))
	}
	if r.Changed {
		text = append(text, "You have not accepted that: nothing is sent to them.")
	}
	return text
}

func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func entries(n int64) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}

func and(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

func day(t time.Time) string { return t.Local().Format("2 January 2006") }

// ago is how long before now something was.
func ago(now, t time.Time) string {
	switch d := now.Sub(t); {
	case d < time.Minute:
		return "a moment ago"
	case d < time.Hour:
		return count(int(d/time.Minute), "minute") + " ago"
	case d < 48*time.Hour:
		return count(int(d/time.Hour), "hour") + " ago"
	default:
		return count(int(d/(24*time.Hour)), "day") + " ago"
	}
}
