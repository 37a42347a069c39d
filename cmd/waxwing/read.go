package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waxwing-dm/waxwing/agent/client"
)

func (c *cli) read() *cobra.Command {
	var follow bool
	var after uint64
	cmd := &cobra.Command{
		Use: "read [CONVERSATION]", Short: "Read a conversation", Args: cobra.MaximumNArgs(1),
		Long:    "CONVERSATION is a handle, several with commas between them, or the beginning of an id. If you have only one, it may be left out.",
		Example: "  waxwing read @bob@elsewhere.example --follow",
		RunE: func(cmd *cobra.Command, args []string) error {
			agent := c.dial()
			what := ""
			if len(args) == 1 {
				what = args[0]
			}
			x, err := find(cmd.Context(), agent, what)
			if err != nil {
				return err
			}
			r := &reader{cli: c, out: cmd.OutOrStdout(), warnings: cmd.ErrOrStderr(), agent: agent, id: x.ID, after: after, began: time.Now()}
			if err := r.warn(cmd.Context()); err != nil {
				return err
			}
			if !c.json {
				var troubles strings.Builder
				writeTroubles(&troubles, "", x.Troubles)
				if _, err := io.WriteString(r.warnings, troubles.String()); err != nil {
					return err
				}
			}
			if follow {
				return r.follow(cmd.Context())
			}
			return r.catchUp(cmd.Context())
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "stay and show what comes")
	cmd.Flags().Uint64Var(&after, "after", 0, "begin after this message number")
	return cmd
}

// reader shows one conversation, each message once.
type reader struct {
	*cli
	out      io.Writer
	warnings io.Writer
	agent    *client.Client
	id       string
	after    uint64
	day      string
	began    time.Time
}

// warn tells of logs that are not believed. It is about more than this conversation.
func (r *reader) warn(ctx context.Context) error {
	all, err := r.agent.Distrusted(ctx)
	if err != nil {
		return err
	}
	for _, h := range all.Hubs {
		if _, err := fmt.Fprintf(r.warnings, "! %s, which keeps the order of changes in a conversation of yours, has signed two different orders; the proof: waxwing log evidence --hub\n",
			plain(h.Host)); err != nil {
			return err
		}
	}
	for _, l := range all.Logs {
		what := map[string]string{
			"split":    "has shown two different histories: no new keys from there are believed any more; the proof: waxwing log evidence",
			"unproven": "has yet to prove that it shows everybody the same history: no new keys from there are believed until it does",
		}[l.State]
		if what == "" {
			continue
		}
		if _, err := fmt.Fprintf(r.warnings, "! the log of %s %s\n", plain(l.Host), what); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) catchUp(ctx context.Context) error {
	for {
		page, err := r.agent.Messages(ctx, r.id, r.after, client.MaxPage)
		if err != nil || len(page.Messages) == 0 {
			return err
		}
		for _, m := range page.Messages {
			if err := r.show(m); err != nil {
				return err
			}
		}
		r.after = page.Next
	}
}

// follow reads the conversation again whenever an event says that it has grown. A connection that breaks is made again.
func (r *reader) follow(ctx context.Context) error {
	var cursor uint64
	for {
		if err := r.catchUp(ctx); err != nil {
			return quiet(ctx, err)
		}
		err := r.agent.Follow(ctx, cursor, func(e client.Event) error {
			cursor = e.Cursor
			if e.Log != "" && e.Time.After(r.began) {
				if _, err := fmt.Fprintf(r.warnings, "! %s\n", plain(e.Detail)); err != nil {
					return err
				}
			}
			if err := r.plainNews(e); err != nil {
				return err
			}
			if e.Type == "delivery.failed" && e.Conversation == r.id && e.Time.After(r.began) {
				if err := r.missed(e); err != nil {
					return err
				}
			}
			if e.Message == nil || e.Conversation != r.id || e.Message.Seq <= r.after {
				return nil
			}
			return r.catchUp(ctx)
		})
		if ctx.Err() != nil || errors.Is(err, client.ErrNoAgent) {
			return quiet(ctx, err)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// quiet is no error if the person has had enough.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (r *reader) show(m client.Message) error {
	if r.json {
		return json.NewEncoder(r.out).Encode(m)
	}
	at := m.Time.Local()
	if day := at.Format("Monday, 2 January 2006"); day != r.day {
		r.day = day
		if _, err := fmt.Fprintf(r.out, "--- %s ---\n", day); err != nil {
			return err
		}
	}
	who := plain(m.Sender)
	if m.Mine {
		who = "you"
	}
	note := ""
	if m.Mine && m.State != "sent" {
		note = "  [" + m.State + "]"
	}
	if m.Plain {
		note = "  [plain]" + note
	}
	if m.KeysReset {
		who += " (new keys, not accepted: waxwing contact " + who + ")"
	}
	text := lines(m.Text, "       ")
	if m.Kind == "unsupported" {
		text = "(something that this version cannot show)"
	}
	if m.Text != "" || m.Kind == "unsupported" {
		if _, err := fmt.Fprintf(r.out, "%s  %s: %s%s\n", at.Format("15:04"), who, text, note); err != nil {
			return err
		}
	}
	for _, a := range m.Attachments {
		if _, err := fmt.Fprintf(r.out, "%s  %s: [file %s, %d bytes; to save it: waxwing save %.8s %d]%s\n",
			at.Format("15:04"), who, plain(a.Name), a.Size, plain(r.id), m.Seq, note); err != nil {
			return err
		}
	}
	for _, u := range m.Undelivered {
		if _, err := fmt.Fprintf(r.out, "       ! %s\n", notDelivered(u.Handle, u.Detail, u.Code)); err != nil {
			return err
		}
	}
	return nil
}

// plainNews tells what a person in a plain conversation has to know: other keys, and what could not be read.
func (r *reader) plainNews(e client.Event) error {
	if e.Type == "message.refused" && e.Code == "cannot_decrypt" && e.Conversation == r.id && e.Time.After(r.began) && !e.Recovered {
		_, err := fmt.Fprintf(r.warnings, "! a message from %s could not be read: %s; it was asked for again\n", plain(e.Handle), plain(e.Detail))
		return err
	}
	news := e.Type == "contact.plain" || e.Type == "contact.reset" || e.Conversation == r.id && (e.Type == "conversation.paused" || e.Code == "begun_anew")
	if !news || !e.Time.After(r.began) {
		return nil
	}
	text := plain(e.Detail)
	if e.Type == "contact.reset" {
		text = plain(e.Handle) + " has new keys that the old ones do not vouch for: waxwing contact " + plain(e.Handle)
	}
	_, err := fmt.Fprintf(r.warnings, "! %s\n", text)
	return err
}

// missed tells of somebody whom something shown before has not reached.
func (r *reader) missed(e client.Event) error {
	what := "a change of members was "
	if e.Message != nil {
		what = fmt.Sprintf("“%s” was ", short(plain(e.Message.Text)))
	}
	_, err := fmt.Fprintf(r.warnings, "! %s%s\n", what, notDelivered(e.Handle, e.Detail, e.Code))
	return err
}

func short(text string) string {
	if r := []rune(text); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return text
}

func notDelivered(handle, detail, code string) string {
	return fmt.Sprintf("not delivered to %s: %s (%s)", plain(handle), plain(detail), plain(code))
}
