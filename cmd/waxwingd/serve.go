package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"

	"github.com/spf13/cobra"

	"github.com/waxwing-dm/waxwing/internal/sdnotify"
	"github.com/waxwing-dm/waxwing/sidecar"
	"github.com/waxwing-dm/waxwing/sidecar/admin"
	"github.com/waxwing-dm/waxwing/sidecar/settings"
)

func newServe() *cobra.Command {
	var flags *settings.Flags
	cmd := &cobra.Command{
		Use: "serve", Short: "Answer calls and deliver messages", Args: cobra.NoArgs,
		Long: `Answers calls and delivers messages until it is stopped. It speaks plain HTTP: put a reverse proxy with TLS in front that
passes the Host header on. The data folder holds the instance's keys; keep it private and backed up.

Witnesses are asked to cosign the instance's log, so that nobody can be shown another one. If they know more of it than the data
folder does, the folder came from a backup: then it stops, the error says what to do, and the exit status is 78.

At SIGTERM it takes no more calls and lets those that run, and deliveries, come to their end, for ten seconds at the most; what is
not delivered by then is delivered after the next start. A second signal ends it at once, as a crash would: nothing that was
acknowledged is lost. Under systemd it can be Type=notify, with WatchdogSec.`,
		Example: `  waxwingd serve --config /etc/waxwingd.toml
  waxwingd serve --standalone --instance https://a.example --data /var/lib/waxwingd --witnesses /etc/waxwingd/witnesses`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := flags.Load(os.Environ())
			if err != nil {
				return err
			}
			return serve(cmd.Context(), in.Settings, cmd.ErrOrStderr())
		},
	}
	flags = settings.Bind(cmd, settings.All...)
	return cmd
}

// hosts is that of sidecar.Config. There is no setting for it: only tests, which run the whole program, let it connect to other addresses.
var hosts map[string]string

var errStandalone = errors.New(`this version runs stand-alone only: add --standalone, or "standalone = true" to the settings`)

func serve(ctx context.Context, in settings.Settings, logTo io.Writer) (err error) {
	if !in.Standalone {
		return errStandalone
	}
	policy, err := loadPolicy(in.Witnesses)
	if err != nil {
		return err
	}
	log := newLog(in, logTo)
	a, stopAdmin, err := serveAdmin(ctx, in.AdminListen, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopAdmin()) }()
	s, err := sidecar.Open(sidecar.Config{
		Instance: in.Instance, DataDir: in.Data, Witnesses: policy, WitnessFor: in.WitnessFor, Hosts: hosts,
		MaxConnections: in.MaxConnections, MaxConnectionsPerAddress: in.MaxConnectionsPerAddress, ClientAddressHeader: in.ClientAddressHeader,
		Observer: a, Log: log,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	a.Watch(s)
	l, err := net.Listen("tcp", in.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	log.Info("serving", "instance", s.Instance(), "listen", l.Addr().String())
	defer tell(ctx, a, log)()
	return s.Serve(ctx, told{l, sync.OnceFunc(func() { notify(log, sdnotify.Ready) })})
}

func newLog(in settings.Settings, to io.Writer) *slog.Logger {
	var options slog.HandlerOptions
	level := new(slog.Level)
	if level.UnmarshalText([]byte(in.LogLevel)) == nil { // else it is info
		options.Level = level
	}
	if in.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(to, &options))
	}
	return slog.New(slog.NewTextHandler(to, &options))
}

// serveAdmin is up before the data folder is open, and until stop is called. Without an address it only counts.
func serveAdmin(ctx context.Context, listen string, log *slog.Logger) (a *admin.Admin, stop func() error, err error) {
	a = admin.New(version())
	if listen == "" {
		return a, func() error { return nil }, nil
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, nil, fmt.Errorf(`admin_listen: %w; "admin_listen" in the settings or --admin-listen is another address, or empty for none`, err)
	}
	log.Info("for the operator", "admin", l.Addr().String())
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- a.Serve(ctx, l) }()
	return a, func() error {
		cancel()
		return <-ended
	}, nil
}

// tell says to whoever watches that it lives, and when it begins to stop; done ends that.
func tell(ctx context.Context, a *admin.Admin, log *slog.Logger) (done func()) {
	undo := context.AfterFunc(ctx, func() {
		a.Drain()
		log.Info("stopping: what runs comes to its end")
		notify(log, sdnotify.Stopping)
	})
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var watch sync.WaitGroup
	watch.Go(func() {
		sdnotify.FromEnvironment(os.Getenv).Watch(watching, func(ctx context.Context) bool {
			a.Report(ctx) // which does not return while the store hangs
			return true
		})
	})
	return func() {
		undo()
		cancel()
		watch.Wait()
	}
}

func notify(log *slog.Logger, state string) {
	if err := sdnotify.FromEnvironment(os.Getenv).Tell(state); err != nil {
		log.Warn("the service manager cannot be told", "error", err)
	}
}

// told tells of the first time that somebody waits for calls.
type told struct {
	net.Listener
	ready func()
}

func (t told) Accept() (net.Conn, error) {
	t.ready()
	return t.Listener.Accept()
}
