package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/waxwing-dm/waxwing/sidecar/settings"
)

const defaultFile = "waxwingd.toml"

func newInit() *cobra.Command {
	var flags *settings.Flags
	cmd := &cobra.Command{
		Use: "init", Short: "Write a file of settings and make the data folder", Args: cobra.NoArgs,
		Long: `Writes a file with all settings and what they mean, makes the data folder, and says what to do next. It does not write over a file
that is there.`,
		Example: "  waxwingd init --instance https://a.example --data /var/lib/waxwingd --config /etc/waxwingd.toml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := cmd.Flags().GetString("config")
			if err != nil {
				return err
			}
			if path == "" {
				path = defaultFile
			}
			// What is to be written is not there to be read.
			if err := cmd.Flags().Set("config", ""); err != nil {
				return err
			}
			in, err := flags.Load(nil)
			if err != nil {
				return err
			}
			return initialize(cmd.OutOrStdout(), path, in.Settings)
		},
	}
	flags = settings.Bind(cmd, "instance", "data", "listen")
	return cmd
}

func initialize(out io.Writer, path string, in settings.Settings) (err error) {
	if in.Instance == "" {
		return errors.New("say which instance this is for, as in --instance https://a.example")
	}
	in.Standalone = true
	if in.Data, err = filepath.Abs(in.Data); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already and was left as it is: choose another with --config, or take it away first", path)
	} else if err != nil {
		return fmt.Errorf("writing the settings: %w", err)
	}
	if err := errors.Join(settings.Write(f, in), f.Close()); err != nil {
		return fmt.Errorf("writing the settings: %w", err)
	}
	if err := os.MkdirAll(in.Data, 0o700); err != nil {
		return fmt.Errorf("making the data folder: %w", err)
	}
	_, err = fmt.Fprintf(out, nextSteps, path, in.Data, in.Listen, in.Instance)
	return err
}

const nextSteps = `Settings:    %[1]s
Data folder: %[2]s

Next:
  1. Have your reverse proxy answer for %[4]s with TLS, and pass everything on to
     http://%[3]s with the Host header as it is.
  2. waxwingd config check --config %[1]s
  3. waxwingd serve --config %[1]s
  4. waxwingd account add NAME --config %[1]s     (prints a login code for its owner)
  5. waxwingd status --config %[1]s               (how it is doing)

Choose witnesses for your log when you can ("witnesses" in the settings): until then what your users are
told about others' keys rests on this machine alone. Back up the data folder; do not run two copies of it.
`
