package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent/client"
	"github.com/waxwing-dm/waxwing/agent/store/storetest"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/sidecar"
	"github.com/waxwing-dm/waxwing/sidecar/sidecartest"
)

const hostsVariable = "WAXWING_TEST_HOSTS"

// TestMain makes the test binary the command when a script runs it.
func TestMain(m *testing.M) {
	storetest.Cheapen()
	sidecartest.StockKeys()
	testscript.Main(m, map[string]func(){"waxwing": func() {
		var hosts map[string]string
		if text := os.Getenv(hostsVariable); text != "" {
			if err := json.Unmarshal([]byte(text), &hosts); err != nil {
				panic(err)
			}
		}
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		code := run(ctx, newCommand(hosts))
		stop()
		os.Exit(code)
	}})
}

// TestScripts runs the commands as people do: agents as processes of their own, and a real sidecar for each of two instances.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			hosts := map[string]string{}
			listeners := map[string]net.Listener{}
			for _, host := range []string{"a.test", "b.test"} {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					return err
				}
				hosts[host], listeners[host] = l.Addr().String(), l
			}
			for host, l := range listeners {
				if err := serve(env, host, l, hosts); err != nil {
					return err
				}
			}
			text, err := json.Marshal(hosts)
			if err != nil {
				return err
			}
			env.Setenv(hostsVariable, string(text))
			env.Setenv("WAXWING_PASSPHRASE", "four random words here")
			env.Setenv("TZ", "UTC")
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"await": await, "sink": sink, "rise": rise},
	})
}

// An island is the sidecar of an instance, through several lives.
type island struct {
	*sidecar.Sidecar
	config  sidecar.Config
	address string
	done    chan struct{}
}

func (i *island) rise(l net.Listener) (err error) {
	for range 50 {
		if l == nil {
			if l, err = net.Listen("tcp", i.address); err != nil { // the port has just been left
				time.Sleep(100 * time.Millisecond)
			}
		}
	}
	if err != nil {
		return err
	}
	if i.Sidecar, err = sidecar.Open(i.config); err != nil {
		return err
	}
	i.done = make(chan struct{})
	go func(s *sidecar.Sidecar) {
		_ = s.Serve(context.Background(), l)
		close(i.done)
	}(i.Sidecar)
	return nil
}

func (i *island) sink() {
	if i.Sidecar != nil {
		i.Kill()
		<-i.done
		i.Sidecar = nil
	}
}

// serve runs a sidecar and puts the login codes of its people into the environment.
func serve(env *testscript.Env, host string, l net.Listener, hosts map[string]string) error {
	i := &island{config: sidecar.Config{Instance: "http://" + host, DataDir: env.WorkDir + "/" + host, Hosts: hosts}, address: hosts[host]}
	if err := i.rise(l); err != nil {
		return err
	}
	env.Values[host] = i
	env.Defer(i.sink)
	for _, name := range map[string][]string{"a.test": {"alice", "carol"}, "b.test": {"bob"}}[host] {
		code, err := i.AddAccount(name)
		if err != nil {
			return err
		}
		env.Setenv(strings.ToUpper(name)+"_CODE", code)
	}
	return nil
}

// sink and rise end the sidecar of an instance as a crash does, and start it again: sink HOST, rise HOST.
func sink(ts *testscript.TestScript, _ bool, args []string) { ts.Value(args[0]).(*island).sink() }

func rise(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(ts.Value(args[0]).(*island).rise(nil))
}

// await runs a command until its output has a text, and then once for the script to look at: await TEXT waxwing args...
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: await TEXT command...")
	}
	var out []byte
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		cmd := exec.Command(args[1], args[2:]...)
		for _, name := range []string{"PATH", "WAXWING_HOME", hostsVariable} {
			cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
		}
		out, _ = cmd.CombinedOutput() // it may fail until the agent is there
		if strings.Contains(string(out), args[0]) {
			_ = ts.Exec(args[1], args[2:]...)
			return
		}
	}
	ts.Fatalf("%q did not come; the last output was %q", args[0], out)
}

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"hello, wörld 👋":          "hello, wörld 👋",
		"\x1b[2Jgone":             `\u{1b}[2Jgone`,
		"a\rb":                    `a\u{d}b`,
		"a\nb":                    `a\u{a}b`,
		"\u202egnp.exe":           `\u{202e}gnp.exe`,
		"\u2066x\u2069":           `\u{2066}x\u{2069}`,
		"zero\u200bwidth":         `zero\u{200b}width`,
		"\u009b31m":               `\u{9b}31m`,
		"\u2028":                  `\u{2028}`,
		"tab\tstays":              "tab\tstays",
		"bell\a":                  `bell\u{7}`,
		string([]byte{'a', 0xff}): `a\u{fffd}`,
	} {
		require.Equal(t, want, plain(in), "%q", in)
	}
	require.Equal(t, "one\n  two\\u{d}", lines("one\r\ntwo\r", "  "))
}

func TestFileNameStaysInTheFolder(t *testing.T) {
	for in, want := range map[string]string{
		"map.pdf": "map.pdf", "../../etc/passwd": "_.._etc_passwd", "/etc/passwd": "_etc_passwd", `..\x`: "_x", ".bashrc": "bashrc", "..": "file",
		"": "file", "a\x00b\nc\td": "a_b_c_d", "gpj.\u202eexe": "gpj._exe", "C:x": "C_x", " . ": "file", "straße 👋.txt": "straße 👋.txt",
	} {
		require.Equal(t, want, fileName(in), "%q", in)
	}
}

func TestEveryCommandHasAnExample(t *testing.T) {
	commands := newCommand(nil).Commands()
	require.Len(t, commands, 19)
	for i := 0; i < len(commands); i++ {
		commands = append(commands, commands[i].Commands()...)
		require.NotEmpty(t, commands[i].Example, commands[i].Name())
		require.NotEmpty(t, commands[i].Short, commands[i].Name())
	}
}

// TestProblemsArePlain: names and places in a problem come from other people's servers.
func TestProblemsArePlain(t *testing.T) {
	p := problem.New(409, "recipient_not_ready", "x").With("who", []any{"@a\x1b]0;x\a@b.test"}).With("errors", []any{"body.text: too\u202elong"})
	text := explain(p)
	require.NotContains(t, text, "\x1b")
	require.Contains(t, text, `@a\u{1b}]0;x\u{7}@b.test`)
	require.Contains(t, text, `body.text: too\u{202e}long`)
}

func TestHandlesInAnySpelling(t *testing.T) {
	c := client.Conversation{Members: []client.Member{{Handle: "@me@a.test", Me: true}, {Handle: "@bob@b.test"}}}
	require.True(t, isWith(c, []string{"bob@B.test"}))
	require.False(t, isWith(c, []string{"@Bob@b.test"}))
}

// TestQuestionsShareTheInput: what is typed ahead for the next question is left to it.
func TestQuestionsShareTheInput(t *testing.T) {
	in := strings.NewReader("@alice@a.test\n first-code \nrest")
	for _, want := range []string{"@alice@a.test", "first-code"} {
		line, err := readLine(in)
		require.NoError(t, err)
		require.Equal(t, want, line)
	}
	line, err := readLine(in)
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, "rest", line)
	line, err = readLine(strings.NewReader(strings.Repeat("x", 5000)))
	require.NoError(t, err)
	require.Len(t, line, 1024)
}

func TestMovedIsSaidWithItsProof(t *testing.T) {
	var b strings.Builder
	x := client.Contact{Handle: "@alice@a.test", MovedTo: "@alice@b\u202e.test"}
	require.NoError(t, printMoved(&b, x))
	require.Contains(t, b.String(), "does not say so, or cannot prove it")
	require.NotContains(t, b.String(), "\u202e")
	b.Reset()
	x.Proven = true
	require.NoError(t, printMoved(&b, x))
	require.Contains(t, b.String(), "has moved to")
}
