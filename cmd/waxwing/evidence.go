package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/waxwing-dm/waxwing/agent/client"
	"github.com/waxwing-dm/waxwing/transparency"
)

func (c *cli) newLogEvidence() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "evidence [HOST]", Short: "Show the proof that a log has shown two histories", Args: cobra.MaximumNArgs(1),
		Long: `Lists the logs that were caught showing people different histories, or writes
the proof of one to a file: two checkpoints that the log itself signed and that
cannot both be true. Anybody can check it without a network.`,
		Example: "  waxwing log evidence\n  waxwing log evidence elsewhere.example --out proof.txt",
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := c.dial().Distrusted(cmd.Context())
			if err != nil {
				return err
			}
			list := []client.DistrustedLog{}
			for _, l := range all {
				if l.Evidence != "" && l.Found != nil {
					list = append(list, l)
				}
			}
			if out == "" && len(args) == 0 {
				return c.listEvidence(cmd.OutOrStdout(), list)
			}
			e, err := pickEvidence(list, args)
			if err != nil {
				return err
			}
			return writeEvidence(cmd.OutOrStdout(), out, e)
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "file to write the proof to; it must not be there yet")
	cmd.AddCommand(c.verifyEvidence())
	return cmd
}

func (c *cli) listEvidence(w io.Writer, list []client.DistrustedLog) error {
	return c.print(w, client.DistrustedLogs{Logs: list}, func(w io.Writer) error {
		if len(list) == 0 {
			_, err := fmt.Fprintln(w, "no log has been caught showing two histories")
			return err
		}
		for _, e := range list {
			_, err := fmt.Fprintf(w, "%s has shown two different histories (found %s); the proof: waxwing log evidence %s\n",
				plain(e.Host), e.Found.Local().Format("2 January 2006"), plain(e.Host))
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
	return client.DistrustedLog{}, errors.New("there is more than one proof; name the instance: waxwing log evidence HOST")
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
}

func (c *cli) verifyEvidence() *cobra.Command {
	var key string
	cmd := &cobra.Command{
		Use: "verify FILE", Short: "Check such a proof, without a network", Args: cobra.ExactArgs(1),
		Long: `Checks that the log with a key has signed two histories. Give the key if you know
it from elsewhere; otherwise the proof is only about whoever has the key that it
names.`,
		Example: "  waxwing log evidence verify proof.txt",
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := readEvidence(args[0])
			if err != nil {
				return err
			}
			v := verified{Key: key, Trusted: key != ""}
			if !v.Trusted {
				v.Key = e.Key
			}
			smaller, other, err := e.Verify(v.Key)
			if err != nil {
				return fmt.Errorf("this proves nothing: %w", err)
			}
			v.Origin, v.Sizes = smaller.Origin, [2]int64{smaller.Size, other.Size}
			return c.print(cmd.OutOrStdout(), v, v.show)
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "the log's key, as its discovery document has it")
	return cmd
}

func (v verified) show(w io.Writer) error {
	_, err := fmt.Fprintf(w, "proven: the log %s has signed two histories, one with %d entries and one with %d, that cannot be one\n", plain(v.Origin), v.Sizes[0], v.Sizes[1])
	if err == nil && !v.Trusted {
		_, err = fmt.Fprintf(w, "that holds for whoever has the key %s; see that it is that log's\n", plain(v.Key))
	}
	return err
}

func readEvidence(path string) (transparency.Evidence, error) {
	f, err := os.Open(path)
	if err != nil {
		return transparency.Evidence{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, transparency.MaxEvidence+1))
	if err != nil {
		return transparency.Evidence{}, err
	}
	e, err := transparency.ParseEvidence(text)
	if err != nil {
		return e, fmt.Errorf("this proves nothing: %w", err)
	}
	return e, nil
}
