package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/waxwing-dm/waxwing/agent"
	"github.com/waxwing-dm/waxwing/agent/localapi"
	"github.com/waxwing-dm/waxwing/agent/store"
)

const passphraseVariable = "WAXWING_PASSPHRASE"

func (c *cli) agent() *cobra.Command {
	var listen, passphraseFile, witnesses string
	cmd := &cobra.Command{
		Use: "agent", Short: "Run the agent: hold the keys, send and receive", Args: cobra.NoArgs,
		Long: `Runs until it is stopped. Everything personal in its home is sealed under the
passphrase; there is no way around a lost one. The passphrase is asked for, or
taken from --passphrase-file, or from the variable ` + passphraseVariable + `.

Whose keys are which is in the log of each person's instance. Witnesses see to
it that an instance shows everybody the same log. Whose word you want is in a
policy file (C2SP tlog-policy), by default "witnesses" in the home:

  witness w1 <key>
  witness w2 <key>
  group two all w1 w2
  quorum two

Your own instance's witness does not count in it.`,
		Example: "  waxwing agent\n  waxwing agent --witnesses policy.txt\n  waxwing agent --listen 127.0.0.1:7423    # also for programs that cannot use a Unix socket",
		RunE: func(cmd *cobra.Command, _ []string) error {
			passphrase, err := c.passphrase(cmd, passphraseFile)
			if err != nil {
				return err
			}
			policy, err := readWitnesses(witnesses)
			if err != nil {
				return err
			}
			return c.runAgent(cmd.Context(), cmd.ErrOrStderr(), agent.Config{Passphrase: passphrase, Witnesses: policy}, listen)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "", "loopback address for programs, as in 127.0.0.1:7423; they need the token in the home's file api-token")
	cmd.Flags().StringVar(&witnesses, "witnesses", "", "policy file that says whose witness a log needs; default: the file witnesses in the home, if there is one")
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "file whose first line is the passphrase")
	return cmd
}

// readWitnesses reads a policy file that somebody named. The agent looks for the home's own.
func readWitnesses(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	policy, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading whose witness is asked for: %w", err)
	}
	return policy, nil
}

func (c *cli) runAgent(ctx context.Context, out io.Writer, config agent.Config, listen string) (err error) {
	config.Home, config.Hosts = c.home, c.hosts
	config.Log = slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelWarn}))
	a, err := agent.Open(config)
	clear(config.Passphrase)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	unix, err := localapi.ListenUnix(localapi.SocketPath(c.home))
	if err != nil {
		return err
	}
	doors := map[net.Listener]string{unix: ""}
	if listen != "" {
		token, err := loadToken(filepath.Join(c.home, "api-token"))
		if err != nil {
			return errors.Join(err, unix.Close())
		}
		tcp, err := localapi.ListenLoopback(listen)
		if err != nil {
			return errors.Join(err, unix.Close())
		}
		doors[tcp] = token
	}
	for l := range doors {
		if _, err := fmt.Fprintln(out, "listening on", l.Addr()); err != nil {
			return err
		}
	}
	if err := greet(out, a, agent.WitnessesPath(c.home)); err != nil {
		return err
	}
	return serveAll(ctx, a, doors)
}

// greet says what is still to be done.
func greet(out io.Writer, a *agent.Agent, witnesses string) error {
	text := ""
	if _, ok, _, err := a.Account(); err == nil && !ok {
		text = "no account yet; in another terminal: waxwing login @you@your.instance\n"
	}
	if !a.AsksWitnesses() {
		text += "no witness is asked for: an instance could show you another list of somebody's keys than it shows others;\n" +
			"to ask for witnesses, write whose into " + witnesses + " (waxwing agent --help)\n"
	}
	_, err := io.WriteString(out, text)
	return err
}

// serveAll runs the agent behind its doors until the first of them ends.
func serveAll(ctx context.Context, a *agent.Agent, doors map[net.Listener]string) error {
	life, end := context.WithCancel(ctx)
	defer end()
	done := make(chan error)
	go func() { done <- a.Run(life) }()
	for l, token := range doors {
		go func() { done <- localapi.Serve(life, a, l, token) }()
	}
	var errs []error
	for range len(doors) + 1 {
		errs = append(errs, <-done)
		end()
	}
	return errors.Join(errs...)
}

// loadToken reads the token of the TCP door, or makes one.
func loadToken(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err == nil && len(bytes.TrimSpace(data)) >= 32 {
		return string(bytes.TrimSpace(data)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	token, err := localapi.NewToken()
	if err != nil {
		return "", err
	}
	return token, os.WriteFile(path, []byte(token+"\n"), 0o600)
}

// passphrase asks for one, twice if it is new.
func (c *cli) passphrase(cmd *cobra.Command, file string) ([]byte, error) {
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading the passphrase: %w", err)
		}
		line, _, _ := bytes.Cut(data, []byte("\n"))
		return bytes.TrimSuffix(line, []byte("\r")), nil
	}
	if p, ok := os.LookupEnv(passphraseVariable); ok {
		return []byte(p), nil
	}
	stdin := int(os.Stdin.Fd())
	if !term.IsTerminal(stdin) {
		return nil, errors.New("there is no terminal to ask for the passphrase on; use --passphrase-file or " + passphraseVariable)
	}
	exists, err := store.Exists(agent.StorePath(c.home))
	if err != nil {
		return nil, err
	}
	out := cmd.ErrOrStderr()
	if exists {
		return ask(out, stdin, "Passphrase: ")
	}
	return askNew(out, stdin)
}

func askNew(out io.Writer, stdin int) ([]byte, error) {
	first, err := ask(out, stdin, "Choose a passphrase; it seals your keys and messages on this device: ")
	if err != nil {
		return nil, err
	}
	second, err := ask(out, stdin, "Once more: ")
	if err != nil {
		return nil, err
	}
	defer clear(second)
	if !bytes.Equal(first, second) {
		return nil, errors.New("the two are not the same; start again")
	}
	if len(strings.TrimSpace(string(first))) < 8 {
		return nil, errors.New("that is shorter than 8 characters; four random words are good and easy to keep")
	}
	return first, nil
}

func ask(out io.Writer, stdin int, question string) ([]byte, error) {
	if _, err := fmt.Fprint(out, question); err != nil {
		return nil, err
	}
	defer fmt.Fprintln(out)
	return term.ReadPassword(stdin)
}
