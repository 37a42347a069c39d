package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waxwing-dm/waxwing/sidecar"
	"github.com/waxwing-dm/waxwing/sidecar/settings"
)

const eraseLong = `Makes this instance forget a person: the account's keys and login code, its
devices, their key packages and mailboxes, what is still on its way from it,
and the files that only it has brought. Messages that others have received stay
theirs. In the log the last entry for the account says that its keys are
erased; from then on everybody who asks for them is answered 410 "erased".

What stays is the log's entries under a label that nobody can connect with the
account who does not have this instance's VRF key, and commitments to device
lists that nobody can open any more.

The sidecar may be serving meanwhile. If it is not, and the log has witnesses,
name their policy as for serve: the entry is signed only after they were asked
what they have seen, and shown only when they have seen it. The command can be repeated, and what it
has begun is finished after a restart. "waxwingd account add NAME" makes the
account anew; everybody who knew the person is then told that the keys changed.`

func newErase() *cobra.Command {
	var flags *settings.Flags
	var yes bool
	cmd := &cobra.Command{
		Use: "erase NAME", Short: "Forget a person", Long: eraseLong, Args: cobra.ExactArgs(1),
		Example: "  waxwingd erase alice --data /var/lib/waxwingd\n  waxwingd erase alice --config /etc/waxwingd.toml",
		RunE: func(cmd *cobra.Command, args []string) error {
			return withSidecar(flags, func(s *sidecar.Sidecar) error {
				if !yes {
					if err := confirm(cmd.InOrStdin(), cmd.OutOrStdout(), s.Handle(args[0])); err != nil {
						return err
					}
				}
				return erase(cmd.Context(), cmd.OutOrStdout(), s, args[0])
			})
		},
	}
	flags = settings.Bind(cmd, "data", "witnesses")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// confirm asks for a handle to be typed.
func confirm(in io.Reader, out io.Writer, handle string) error {
	if _, err := fmt.Fprintf(out, "This cannot be undone. Type %s to erase it: ", handle); err != nil {
		return err
	}
	line, err := bufio.NewReader(io.LimitReader(in, 1024)).ReadString('\n')
	if strings.TrimSpace(line) == handle {
		return nil
	}
	if err != nil && err != io.EOF {
		return err
	}
	return fmt.Errorf("that is not %s: nothing was erased (--yes does not ask)", handle)
}

var eraseWords = map[sidecar.EraseStep]string{
	sidecar.EraseAsked:  "written down; from now on it will be done, also if this command is stopped",
	sidecar.EraseGone:   "the account, its devices, mailbox, deliveries and files are gone",
	sidecar.EraseLogged: "the log says that the keys are erased; lookups are refused once that is witnessed",
	sidecar.EraseDone:   "done: lookups are refused, and nothing is left to answer them with",
}

func erase(ctx context.Context, out io.Writer, s *sidecar.Sidecar, name string) error {
	told := false
	err := s.Erase(ctx, name, func(step sidecar.EraseStep) {
		told = true
		fmt.Fprintln(out, eraseWords[step]) //nolint:errcheck // who does not listen any more still wants it done
	})
	if err == nil && !told {
		_, err = fmt.Fprintf(out, "%s has been erased already\n", s.Handle(name))
	}
	return err
}
