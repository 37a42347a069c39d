package settings_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/sidecar/settings"
)

// load is what a command with these arguments makes of a file's text, if there is one, and of the environment.
func load(t *testing.T, text string, environ []string, args ...string) (loaded settings.Loaded, err error) {
	t.Helper()
	cmd := &cobra.Command{Use: "x", SilenceUsage: true, SilenceErrors: true}
	flags := settings.Bind(cmd, settings.All...)
	cmd.RunE = func(*cobra.Command, []string) error {
		loaded, err = flags.Load(environ)
		return err
	}
	if text != "" {
		args = append(args, "--config", write(t, text))
	}
	cmd.SetArgs(append([]string{}, args...))
	return loaded, cmd.Execute()
}

func write(t *testing.T, text string) string {
	path := filepath.Join(t.TempDir(), "waxwingd.toml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestWhoGoesFirst(t *testing.T) {
	file := "listen = '127.0.0.1:1'\nlog_level = 'warn'\nwitness_for = ['https://f.example']\n"
	environ := []string{"PATH=/bin", "WAXWINGD_LISTEN=127.0.0.1:2", "WAXWINGD_STANDALONE=true", "WAXWINGD_WITNESS_FOR=https://e.example https://g.example"}
	l, err := load(t, file, environ, "--listen", "127.0.0.1:3")
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:3", l.Listen)
	require.Equal(t, "--listen", l.From("listen"))
	require.True(t, l.Standalone)
	require.Equal(t, []string{"https://e.example", "https://g.example"}, l.WitnessFor)
	require.Equal(t, "WAXWINGD_WITNESS_FOR in the environment", l.From("witness_for"))
	require.Equal(t, "warn", l.LogLevel)
	require.Contains(t, l.From("log_level"), "waxwingd.toml line 2")
	require.Equal(t, "text", l.LogFormat)
	require.Equal(t, "default", l.From("log_format"))

	l, err = load(t, file, environ)
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:2", l.Listen)
	l, err = load(t, file, nil)
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:1", l.Listen)
	l, err = load(t, "", nil)
	require.NoError(t, err)
	require.Equal(t, settings.Defaults(), l.Settings)
}

// TestFileInTheEnvironment: the flag goes before it, too.
func TestFileInTheEnvironment(t *testing.T) {
	environ := []string{"WAXWINGD_CONFIG=" + write(t, "log_level = 'debug'")}
	l, err := load(t, "", environ)
	require.NoError(t, err)
	require.Equal(t, "debug", l.LogLevel)
	l, err = load(t, "log_level = 'error'", environ)
	require.NoError(t, err)
	require.Equal(t, "error", l.LogLevel)
	_, err = load(t, "", []string{"WAXWINGD_CONFIG=/nowhere/at-all"})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"\nlisten = '127.0.0.1:1'\nlistne = 'x'":   "line 3: listne is no key: did you mean listen?",
		"witness_fro = []":                         "did you mean witness_for?",
		"wholly_else = 1":                          "waxwingd help config",
		"Listen = '127.0.0.1:1'":                   "did you mean listen?",
		"[log]\nlevel = 'info'":                    "line 1",
		"log.level = 'info'":                       "no tables and no dotted keys",
		"listen = 8480":                            "line 1: listen is not a text in quotes",
		"max_connections = '5'":                    "max_connections is not a number",
		"max_connections = 0.5":                    "max_connections is not a number",
		"client_address_header = 'X Real'":         "not the name of a header",
		"max_connections = 0":                      "0 is not a number from 1 on",
		"max_connections_per_address = -1":         "-1 is not a number from 1 on",
		"standalone = 'yes'":                       "standalone is neither true nor false",
		"witness_for = 'https://a.example'":        "witness_for is not a list of texts",
		"witness_for = ['https://a.example', 1]":   "witness_for is not a list of texts",
		"witness_for = ['a.example']":              `"a.example" is not an origin`,
		"instance = 'https://a.example/'":          "not an origin",
		"data = ''":                                "data (",
		"listen = 'nonsense'":                      "not an address",
		"listen = ''":                              "not an address",
		"admin_listen = '127.0.0.1:99999'":         "not an address",
		"log_level = 'loud'":                       "not one of debug, info, warn, error",
		"log_format = 'xml'":                       "not one of text, json",
		"# a\nlisten = ":                           "line 2",
		"listen = '127.0.0.1:1'\nlisten = 'x'":     "line 2",
		"#" + strings.Repeat("x", 64<<10):          "too large",
		"listen = '127.0.0.1:1'\n\x00standalone=1": "line 2",
	} {
		_, err := load(t, text, nil)
		require.ErrorContains(t, err, want, text)
		require.ErrorContains(t, err, "waxwingd.toml", text)
	}
	for variable, want := range map[string]string{
		"WAXWINGD_LISTN=127.0.0.1:1": "did you mean WAXWINGD_LISTEN?",
		"WAXWINGD_listen=x":          "WAXWINGD_listen in the environment means nothing",
		"WAXWINGD_MAX_CONNECTIONS=x": `"x" is not a number`,
		"WAXWINGD_STANDALONE=yes":    "neither true nor false",
		"WAXWINGD_LOG_LEVEL=loud":    "WAXWINGD_LOG_LEVEL in the environment): ",
	} {
		_, err := load(t, "", []string{variable})
		require.ErrorContains(t, err, want)
	}
	_, err := load(t, "", nil, "--log-format", "xml")
	require.ErrorContains(t, err, "log_format (--log-format)")
	_, err = load(t, "", []string{"WAXWING_HOME=/home/a", "WAXWING_PASSPHRASE=x"})
	require.NoError(t, err, "the agent's")
	_, err = load(t, "admin_listen = ''", nil)
	require.NoError(t, err, "none")
}

// TestOneListOfKeys: whoever adds a key has said it to everybody, with words to it.
func TestOneListOfKeys(t *testing.T) {
	var file strings.Builder
	require.NoError(t, settings.Write(&file, settings.Defaults()))
	cmd := &cobra.Command{Use: "x"}
	settings.Bind(cmd, settings.All...)
	for _, name := range settings.All {
		require.Contains(t, file.String(), "\n# "+name+" = ")
		require.Contains(t, "\n"+settings.Help(), "\n  "+name+" = ")
		require.Contains(t, settings.Help(), "WAXWINGD_"+strings.ToUpper(name))
		flag := cmd.Flags().Lookup(strings.ReplaceAll(name, "_", "-"))
		require.NotNil(t, flag, name)
		require.Greater(t, len(flag.Usage), 10, name)
	}
	for line := range strings.Lines(file.String() + settings.Help()) {
		require.LessOrEqual(t, len(line), 120, line)
	}
}

// TestWrite: what was written is read back, and only what is not the default is set.
func TestWrite(t *testing.T) {
	want := settings.Defaults()
	want.Instance, want.Data, want.Standalone = "https://a.example", `/var/lib/with "quotes" and \`, true
	want.WitnessFor = []string{"https://b.example", "https://c.example"}
	var file strings.Builder
	require.NoError(t, settings.Write(&file, want))
	l, err := load(t, file.String(), nil)
	require.NoError(t, err, file.String())
	require.Equal(t, want, l.Settings)
	set := 0
	for line := range strings.Lines(file.String()) {
		if line != "\n" && !strings.HasPrefix(line, "#") {
			set++
		}
	}
	require.Equal(t, 4, set, "only what is not the default: %s", file.String())

	var standard strings.Builder
	require.NoError(t, settings.Write(&standard, settings.Defaults()))
	l, err = load(t, strings.ReplaceAll(standard.String(), "\n# instance =", "\ninstance ="), nil)
	require.NoError(t, err)
	require.Equal(t, settings.Defaults(), l.Settings)
}

func FuzzFile(f *testing.F) {
	for _, seed := range []string{"", "listen = '127.0.0.1:1'", "[a]\nb=1", "a.b = [1, 'x', {y = 2}]", "witness_for = [\n'https://a.example']", "=", "\"\" = 1", "x = 1979-05-27"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		cmd := &cobra.Command{Use: "x"}
		flags := settings.Bind(cmd, settings.All...)
		path := filepath.Join(t.TempDir(), "f")
		require.NoError(t, os.WriteFile(path, text, 0o600))
		require.NoError(t, cmd.ParseFlags([]string{"--config", path}))
		if l, err := flags.Load(nil); err == nil {
			var again strings.Builder
			require.NoError(t, settings.Write(&again, l.Settings))
		} else {
			require.Contains(t, err.Error(), path)
		}
	})
}
