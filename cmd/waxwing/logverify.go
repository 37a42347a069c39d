package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/waxwing-dm/waxwing/agent/client"
)

const (
	maxSaved      = 1 << 20
	maxPolicyFile = 512 << 10 // W12
)

func (c *cli) logVerify() *cobra.Command {
	var file, key, save, witnesses string
	cmd := &cobra.Command{
		Use: "verify HANDLE", Short: "Look somebody up now and check the proof of their keys, step by step", Args: cobra.MaximumNArgs(1),
		Long: `Fetches what the directory says of somebody and checks it here, without any
network: each numbered check of spec/log-entry.md and spec/witness.md in order.

With --save the answer is kept in a file, with all that is needed to check it.
With --answer such a file is checked and nothing is fetched; give with --key the
log's key as you have it from somewhere else, or the file vouches for itself.`,
		Example: "  waxwing log verify @bob@elsewhere.example\n" +
			"  waxwing log verify @bob@elsewhere.example --save bob.json\n" +
			"  waxwing log verify --answer bob.json --key elsewhere.example/waxwing/log/…+1a2b3c4d+…",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := c.proof(cmd, args, file)
			if err != nil {
				return err
			}
			j := judge{proof: p, saved: file != "", key: key}
			if j.policy, err = c.policy(witnesses); err != nil {
				return err
			}
			if save != "" {
				if err := saveProof(save, p); err != nil {
					return err
				}
			}
			result, err := j.run()
			if err != nil {
				return err
			}
			if err := c.print(cmd.OutOrStdout(), result, result.print); err != nil {
				return err
			}
			if !result.Proven {
				return errors.New("the answer does not prove what it says; its keys are not to be used")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "answer", "", "check this saved answer, offline")
	cmd.Flags().StringVar(&key, "key", "", "with --answer: the key of the log that it must be signed with")
	cmd.Flags().StringVar(&save, "save", "", "keep the answer in this file")
	cmd.Flags().StringVar(&witnesses, "witnesses", "", "policy file that says whose cosignatures to ask for (default: the file witnesses in the home)")
	cmd.MarkFlagsMutuallyExclusive("answer", "save")
	return cmd
}

// proof is what is to be checked: from the agent, or from a file.
func (c *cli) proof(cmd *cobra.Command, args []string, file string) (p client.Proof, err error) {
	switch {
	case file == "" && len(args) == 0:
		return p, errors.New("say whose keys to check, as in: waxwing log verify @bob@elsewhere.example")
	case file != "" && len(args) > 0:
		return p, errors.New("give either a handle or --answer FILE")
	case file == "":
		return c.dial().Proof(cmd.Context(), args[0])
	}
	data, err := readFile(file, maxSaved)
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(data, &p); err != nil || p.Origin == "" || len(p.Answer) == 0 {
		return p, fmt.Errorf("%s is not an answer that --save has kept", file)
	}
	return p, nil
}

func saveProof(path string, p client.Proof) error {
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already; choose another name", path)
	} else if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	return errors.Join(err, f.Close())
}

// policy reads the policy file; nil if none was named and the home has none.
func (c *cli) policy(path string) ([]byte, error) {
	named := path != ""
	if !named {
		path = filepath.Join(c.home, "witnesses")
	}
	data, err := readFile(path, maxPolicyFile)
	if !named && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// readFile reads a file that is no longer than limit.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return data, err
}
