package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waxwing-dm/waxwing/agent/client"
)

func (c *cli) save() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "save CONVERSATION NUMBER", Short: "Save the files of a message", Args: cobra.ExactArgs(2),
		Long:    "NUMBER is the one that \"waxwing read\" shows with the file. A file that is there already is not overwritten.",
		Example: "  waxwing save @bob@elsewhere.example 7 --dir ~/Downloads",
		RunE: func(cmd *cobra.Command, args []string) error {
			seq, err := strconv.ParseUint(args[1], 10, 63)
			if err != nil || seq == 0 {
				return fmt.Errorf("%q is not the number of a message", args[1])
			}
			agent := c.dial()
			x, err := find(cmd.Context(), agent, args[0])
			if err != nil {
				return err
			}
			page, err := agent.Messages(cmd.Context(), x.ID, seq-1, 1)
			if err != nil {
				return err
			}
			if len(page.Messages) == 0 || page.Messages[0].Seq != seq || len(page.Messages[0].Attachments) == 0 {
				return errors.New("that message has no files")
			}
			for _, a := range page.Messages[0].Attachments {
				data, err := agent.File(cmd.Context(), x.ID, seq, a.N)
				if err != nil {
					return err
				}
				if err := c.saveOne(cmd, dir, a, data); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", ".", "folder to save into")
	return cmd
}

func (c *cli) saveOne(cmd *cobra.Command, dir string, a client.Attachment, data []byte) error {
	path := filepath.Join(dir, fileName(a.Name))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close(), os.Remove(path))
	}
	if err := f.Close(); err != nil {
		return err
	}
	return c.say(cmd, map[string]string{"path": path}, "saved "+path)
}

// fileName makes a name chosen by somebody else one that stays in the folder and hides nothing: no separators, no leading dot, no
// control or invisible characters.
func fileName(name string) string {
	name = strings.Map(func(r rune) rune {
		if strings.ContainsRune(`/\:*?"<>|`, r) || plain(string(r)) != string(r) || r == '\t' {
			return '_'
		}
		return r
	}, name)
	name = strings.Trim(name, ". ")
	if name == "" {
		return "file"
	}
	return name
}
