package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/waxwing-dm/waxwing/agent/client"
)

func (c *cli) send() *cobra.Command {
	var file string
	var noWait, unproven bool
	cmd := &cobra.Command{
		Use: "send TO [TEXT...]", Short: "Send a message or a file", Args: cobra.MinimumNArgs(1),
		Long: `TO is a handle, several with commas between them, or the id of a conversation
(its beginning is enough). Without TEXT and --file, the text is read from
standard input. The command ends when your instance has taken the message.

Some instances have encrypted messages and no directory of keys: nobody vouches
for the keys of their people. The first message to them needs --plain.`,
		Example: `  waxwing send @bob@elsewhere.example "see you at nine"
  waxwing send @bob@elsewhere.example,@carol@chat.example "both of you"
  waxwing send 4b1f --file map.pdf`,
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := c.sendOne(cmd, args[0], strings.Join(args[1:], " "), file, unproven)
			if err != nil {
				return err
			}
			if !noWait {
				if m, err = c.awaitSent(cmd, m); err != nil {
					return err
				}
				if err := c.checkReached(cmd.Context(), m, args[0]); err != nil {
					return err
				}
			}
			return c.say(cmd, m, fmt.Sprintf("%s (conversation %.8s%s)", m.State, plain(m.Conversation), plainly(m.Plain)))
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "send this file")
	cmd.Flags().BoolVar(&unproven, "plain", false, "write to them even if nobody vouches for their keys")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "end as soon as the message is written down on this device")
	return cmd
}

func (c *cli) sendOne(cmd *cobra.Command, to, text, file string, unproven bool) (client.Message, error) {
	ctx, agent, key := cmd.Context(), c.dial(), uuid.NewString()
	if file != "" {
		if text != "" {
			return client.Message{}, errors.New("send the text and the file one after the other")
		}
		return c.sendFile(ctx, to, key, file)
	}
	if text == "" {
		if f, ok := cmd.InOrStdin().(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			return client.Message{}, errors.New("there is no text; write it after the handle")
		}
		data, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), client.MaxText+1))
		if err != nil {
			return client.Message{}, err
		}
		text = strings.TrimSuffix(string(data), "\n")
	}
	if strings.Contains(to, "@") {
		return agent.Send(ctx, key, client.Outgoing{To: strings.Split(to, ","), Text: text, Plain: unproven})
	}
	conversation, err := find(ctx, agent, to)
	if err != nil {
		return client.Message{}, err
	}
	return agent.Send(ctx, key, client.Outgoing{Conversation: conversation.ID, Text: text})
}

func (c *cli) sendFile(ctx context.Context, to, key, path string) (client.Message, error) {
	info, err := os.Stat(path)
	if err != nil {
		return client.Message{}, err
	}
	if info.Size() > client.MaxFile {
		return client.Message{}, fmt.Errorf("%s has %d bytes; a file has at most %d", path, info.Size(), client.MaxFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return client.Message{}, err
	}
	agent := c.dial()
	conversation, err := find(ctx, agent, to)
	if errors.Is(err, errNone) && strings.Contains(to, "@") {
		conversation, err = agent.Start(ctx, strings.Split(to, ",")...)
	}
	if err != nil {
		return client.Message{}, err
	}
	kind := mime.TypeByExtension(filepath.Ext(path))
	if kind == "" {
		kind = "application/octet-stream"
	}
	return agent.SendFile(ctx, key, conversation.ID, filepath.Base(path), kind, data)
}

// awaitSent waits until the instance has the message, and says on what it waits.
func (c *cli) awaitSent(cmd *cobra.Command, m client.Message) (client.Message, error) {
	agent, shown, told, look := c.dial(), "", "", time.Now().Add(tellAfter)
	for {
		page, err := agent.Messages(cmd.Context(), m.Conversation, m.Seq-1, 1)
		if err != nil {
			return m, err
		}
		if len(page.Messages) == 1 {
			m = page.Messages[0]
		}
		switch m.State {
		case "sent":
			return m, nil
		case "failed":
			reason := why(cmd.Context(), agent, func(e client.Event) bool {
				return e.Message != nil && e.Conversation == m.Conversation && e.Message.Seq == m.Seq && e.Message.State == "failed"
			})
			return m, fmt.Errorf("the message could not be sent%s", reason)
		}
		if m.State != shown && !c.json {
			if _, err := fmt.Fprintf(cmd.ErrOrStderr(), "%s … (Ctrl-C leaves it to the agent)\n", m.State); err != nil {
				return m, err
			}
			shown = m.State
		}
		if now := time.Now(); now.After(look) {
			look = now.Add(tellAfter)
			if told, err = c.tellReason(cmd, m, told); err != nil {
				return m, err
			}
		}
		if err := pause(cmd.Context(), "not sent yet; the agent goes on trying"); err != nil {
			return m, err
		}
	}
}

const tellAfter = 2 * time.Second // that is how long a message may take

// tellReason says what keeps a message from being sent, once for each reason.
func (c *cli) tellReason(cmd *cobra.Command, m client.Message, told string) (string, error) {
	if c.json {
		return told, nil
	}
	what, err := whatHolds(cmd.Context(), c.dial(), m)
	if err != nil || what == "" || what == told {
		return told, err
	}
	_, err = fmt.Fprintln(cmd.ErrOrStderr(), "it waits:", plain(what))
	return what, err
}

// checkReached says who of those that a message was for could not be added to its conversation.
func (c *cli) checkReached(ctx context.Context, m client.Message, to string) error {
	agent, handles := c.dial(), strings.Split(to, ",")
	x, err := agent.Conversation(ctx, m.Conversation)
	if err != nil || !strings.Contains(to, "@") || len(x.Members) > len(handles) {
		return err
	}
	for _, h := range handles {
		handle := normal(h)
		if slices.ContainsFunc(x.Members, func(m client.Member) bool { return m.Handle == handle }) {
			continue
		}
		reason := why(ctx, agent, func(e client.Event) bool {
			return e.Type == "member.failed" && e.Conversation == x.ID && e.Handle == handle
		})
		if reason != "" {
			return fmt.Errorf("sent, but not to %s%s", plain(handle), reason)
		}
	}
	return nil
}

const whyTime = 5 * time.Second

// why is what the agent's events say of something that failed, as the end of a sentence.
func why(ctx context.Context, agent *client.Client, match func(client.Event) bool) (reason string) {
	ctx, stop := context.WithTimeout(ctx, whyTime)
	defer stop()
	_ = agent.Follow(ctx, 0, func(e client.Event) error { // it is only for the reason
		if !match(e) {
			return nil
		}
		reason = ": " + plain(strings.TrimSpace(e.Detail)) + " (" + plain(e.Code) + ")"
		stop()
		return ctx.Err()
	})
	return reason
}

var errNone = errors.New("there is no such conversation; list them: waxwing conversations")

// find takes the beginning of an id, or handles: then it is the newest conversation with exactly these people, one we are in if there is any.
func find(ctx context.Context, agent *client.Client, what string) (found client.Conversation, err error) {
	list, err := agent.Conversations(ctx)
	if err != nil {
		return found, err
	}
	var matches []client.Conversation
	for _, c := range list {
		if !strings.Contains(what, "@") && strings.HasPrefix(c.ID, what) || strings.Contains(what, "@") && isWith(c, strings.Split(what, ",")) {
			matches = append(matches, c)
		}
	}
	if len(matches) == 0 && strings.Contains(what, "@") {
		matches = withActors(ctx, agent, list, strings.Split(what, ","))
	}
	switch {
	case len(matches) == 0:
		return found, errNone
	case len(matches) > 1 && what == "":
		return found, errors.New("there are several conversations; name one of them: waxwing conversations")
	case len(matches) > 1 && !strings.Contains(what, "@"):
		return found, fmt.Errorf("%d conversations begin with %q; give more of the id", len(matches), what)
	}
	for _, c := range slices.Backward(matches) {
		if c.State != "left" {
			return c, nil
		}
	}
	return matches[len(matches)-1], nil
}

// withActors looks the people up: not everybody's handle can be told from their URL.
func withActors(ctx context.Context, agent *client.Client, list []client.Conversation, handles []string) (matches []client.Conversation) {
	var known []string
	for _, h := range handles {
		x, err := agent.Contact(ctx, h)
		if err != nil {
			return nil
		}
		known = append(known, x.Handle)
	}
	for _, c := range list {
		if isWith(c, known) {
			matches = append(matches, c)
		}
	}
	return matches
}

// normal is a handle as the agent writes it.
func normal(handle string) string {
	if strings.Contains(handle, "://") {
		return handle
	}
	name, host, _ := strings.Cut(strings.TrimPrefix(handle, "@"), "@")
	return "@" + name + "@" + strings.ToLower(host)
}

func isWith(c client.Conversation, handles []string) bool {
	var with []string
	for _, m := range c.Members {
		if !m.Me {
			with = append(with, m.Handle)
		}
	}
	want := make([]string, 0, len(handles))
	for _, h := range handles {
		want = append(want, normal(h))
	}
	slices.Sort(with)
	slices.Sort(want)
	return slices.Equal(with, want)
}

func (c *cli) conversations() *cobra.Command {
	return &cobra.Command{
		Use: "conversations", Short: "List your conversations", Args: cobra.NoArgs, Example: "  waxwing conversations",
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := c.dial().Conversations(cmd.Context())
			if err != nil {
				return err
			}
			c.warn(cmd)
			return c.print(cmd.OutOrStdout(), client.Conversations{Conversations: list}, func(w io.Writer) error {
				if len(list) == 0 {
					_, err := fmt.Fprintln(w, "none yet; begin one: waxwing send @somebody@their.instance hello")
					return err
				}
				for _, x := range list {
					if err := printConversation(w, x); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

// plainly is what stands behind everything that is plain.
func plainly(is bool) string {
	if is {
		return ", plain: nobody vouches for all keys"
	}
	return ""
}

func printConversation(w io.Writer, c client.Conversation) error {
	state := ""
	if c.State != "active" {
		state = "  [" + strings.TrimSpace(c.State+" "+plain(leftBecause(c))) + "]"
	}
	if c.Plain {
		state = "  [plain: nobody vouches for all keys]" + state
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%.8s  %s%s%s\n", plain(c.ID), whoIsIn(c), state, unsent(c.Unsent))
	writeTroubles(&b, "  ", c.Troubles)
	_, err := io.WriteString(w, b.String())
	return err
}

// leftBecause is the reason of what has ended. Other reasons are told with the troubles.
func leftBecause(c client.Conversation) string {
	if c.State == "left" {
		return c.Reason
	}
	return ""
}

func whoIsIn(c client.Conversation) string {
	var who []string
	for _, m := range c.Members {
		name := plain(m.Handle)
		if m.Me {
			name = "you"
		}
		if m.Admin {
			name += " (admin)"
		}
		who = append(who, name)
	}
	return strings.Join(who, ", ")
}
