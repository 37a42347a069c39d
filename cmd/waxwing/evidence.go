package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/waxwing-dm/waxwing/agent/client"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/transparency"
)

func (c *cli) newLogEvidence() *cobra.Command {
	var out string
	var hub bool
	cmd := &cobra.Command{
		Use: "evidence [HOST]", Short: "Show the proof that a log has shown two histories, or a hub two orders", Args: cobra.MaximumNArgs(1),
		Long: `Lists the logs that were caught showing people different histories, and the
instances that were caught signing two orders of a conversation's changes, or
writes the proof of one to a file: two checkpoints, or two receipts, that the
instance itself signed and that cannot both be true. Anybody can check it without
a network.`,
		Example: "  waxwing log evidence\n  waxwing log evidence elsewhere.example --out proof.txt\n  waxwing log evidence elsewhere.example --hub",
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := c.dial().Distrusted(cmd.Context())
			if err != nil {
				return err
			}
			list := []client.DistrustedLog{}
			for _, l := range all.Logs {
				if l.Evidence != "" && l.Found != nil && !hub {
					list = append(list, l)
				}
			}
			for _, h := range all.Hubs {
				list = append(list, client.DistrustedLog{Host: h.Host, State: ofHub, Found: &h.Found, Evidence: h.Evidence})
			}
			if out == "" && len(args) == 0 {
				return c.listEvidence(cmd.OutOrStdout(), list, all.Hubs...)
			}
			e, err := pickEvidence(list, args)
			if err != nil {
				return err
			}
			return writeEvidence(cmd.OutOrStdout(), out, e)
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "file to write the proof to; it must not be there yet")
	cmd.Flags().BoolVar(&hub, "hub", false, "of proofs against hubs only")
	cmd.AddCommand(c.verifyEvidence())
	return cmd
}

// ofHub marks the proof against a hub among those against logs.
const ofHub = "hub"

func (c *cli) listEvidence(w io.Writer, list []client.DistrustedLog, hubs ...client.LyingHub) error {
	logs := slices.DeleteFunc(slices.Clone(list), func(e client.DistrustedLog) bool { return e.State == ofHub })
	return c.print(w, client.DistrustedLogs{Logs: logs, Hubs: append([]client.LyingHub{}, hubs...)}, func(w io.Writer) error {
		if len(list) == 0 {
			_, err := fmt.Fprintln(w, "no log has been caught showing two histories, and no hub two orders")
			return err
		}
		for _, e := range list {
			said, flag := "has shown two different histories", ""
			if e.State == ofHub {
				said, flag = "has signed two different orders of a conversation's changes", " --hub"
			}
			_, err := fmt.Fprintf(w, "%s %s (found %s); the proof: waxwing log evidence %s%s\n",
				plain(e.Host), said, e.Found.Local().Format("2 January 2006"), plain(e.Host), flag)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func pickEvidence(list []client.DistrustedLog, host []string) (client.DistrustedLog, error) {
	var found []client.DistrustedLog
	for _, e := range list {
		if len(host) == 0 || e.Host == host[0] {
			found = append(found, e)
		}
	}
	switch len(found) {
	case 0:
		return client.DistrustedLog{}, errors.New("there is no such proof; list what there is: waxwing log evidence")
	case 1:
		return found[0], nil
	}
	return client.DistrustedLog{}, errors.New("there is more than one proof; name the instance, and with --hub the kind: waxwing log evidence HOST")
}

func writeEvidence(w io.Writer, path string, e client.DistrustedLog) error {
	if path == "" {
		_, err := io.WriteString(w, e.Evidence)
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644) // it is for others to read
	if err != nil {
		return err
	}
	if _, err := io.WriteString(f, e.Evidence); err != nil {
		return errors.Join(err, f.Close(), os.Remove(path))
	}
	if err := f.Close(); err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, "saved", path)
	return err
}

// verified is what `verify` finds.
type verified struct {
	Origin  string   `json:"origin"`
	Key     string   `json:"key"`
	Trusted bool     `json:"trusted"` // the key was given, and not only taken from the file
	Sizes   [2]int64 `json:"sizes"`
	Hub     *place   `json:"hub,omitempty"` // where two receipts are; Origin is then the conversation's URL
}

// place is one in a hub's order.
type place struct {
	Term uint64 `json:"term"`
	Seq  uint64 `json:"seq"`
}

// verifyText checks a proof of either kind.
func verifyText(text []byte, key string) (verified, error) {
	v := verified{Key: key, Trusted: key != ""}
	if bytes.HasPrefix(text, []byte("waxwing/hub-evidence@")) {
		return v.ofHub(text)
	}
	e, err := transparency.ParseEvidence(text)
	if err != nil {
		return v, err
	}
	if !v.Trusted {
		v.Key = e.Key
	}
	smaller, other, err := e.Verify(v.Key)
	v.Origin, v.Sizes = smaller.Origin, [2]int64{smaller.Size, other.Size}
	return v, err
}

func (v verified) ofHub(text []byte) (verified, error) {
	e, err := receipt.ParseEvidence(text)
	if err != nil {
		return v, err
	}
	key := e.HubKey
	if v.Trusted {
		given, err := base64.StdEncoding.DecodeString(v.Key)
		if err != nil || len(given) != len(key) {
			return v, errors.New("a hub's key is the base64 of 32 bytes")
		}
		key = [32]byte(given)
	}
	v.Key = base64.StdEncoding.EncodeToString(key[:])
	first, _, err := e.Verify(key)
	v.Origin, v.Hub = e.Conversation, &place{first.Term, first.Seq}
	return v, err
}

func (c *cli) verifyEvidence() *cobra.Command {
	var key string
	cmd := &cobra.Command{
		Use: "verify FILE", Short: "Check such a proof, without a network", Args: cobra.ExactArgs(1),
		Long: `Checks that the log with a key has signed two histories, or the hub with a key two
orders of a conversation's changes. Give the key if you know it from elsewhere; otherwise the proof is only about whoever has the key that it
names.`,
		Example: "  waxwing log evidence verify proof.txt",
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readEvidence(args[0])
			if err != nil {
				return err
			}
			v, err := verifyText(text, key)
			if err != nil {
				return fmt.Errorf("this proves nothing: %w", err)
			}
			return c.print(cmd.OutOrStdout(), v, v.show)
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "the log's or hub's key, as the instance's discovery document has it")
	return cmd
}

func (v verified) show(w io.Writer) error {
	kind, err := "log", error(nil)
	if v.Hub != nil {
		kind = "hub"
		_, err = fmt.Fprintf(w, "proven: a hub of %s has signed two receipts of term %d and number %d, that cannot both be\n", plain(v.Origin), v.Hub.Term, v.Hub.Seq)
	} else {
		_, err = fmt.Fprintf(w, "proven: the log %s has signed two histories, one with %d entries and one with %d, that cannot be one\n", plain(v.Origin), v.Sizes[0], v.Sizes[1])
	}
	if err == nil && !v.Trusted {
		_, err = fmt.Fprintf(w, "that holds for whoever has the key %s; see that it is that %s's\n", plain(v.Key), kind)
	}
	return err
}

func readEvidence(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, transparency.MaxEvidence+1)) // of the two kinds, the longer
}
