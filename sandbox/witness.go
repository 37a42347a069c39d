package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/waxwing-dm/waxwing/sidecar/witnessing"
	"github.com/waxwing-dm/waxwing/transparency"
)

// witnessHosts are where the logs of both instances are witnessed and audited, by nobody who belongs to either.
var witnessHosts = []string{"w1.test", "w2.test", "w3.test"}

// A watchtower is one stand-alone witness, through several lives.
type watchtower struct {
	host, dir string
	hosts     map[string]string
	listener  net.Listener
	witness   *witnessing.Witnessing
	log       *os.File
	end       context.CancelFunc
	served    chan error
}

func (w *watchtower) open() (err error) {
	if w.listener == nil {
		if w.listener, err = listenAgain(w.hosts[w.host]); err != nil {
			return fmt.Errorf("sandbox: %w", err)
		}
	}
	if w.log, err = openLog(filepath.Join(w.dir, "witness.log")); err != nil {
		return err
	}
	w.witness, err = witnessing.Open(witnessing.Config{
		DataDir: filepath.Join(w.dir, "data"), Host: w.host, URL: "http://" + w.host + witnessing.Path,
		For: []string{"http://" + HostA, "http://" + HostB}, Hosts: w.hosts, Log: logger(w.log),
	})
	if err != nil {
		return fmt.Errorf("sandbox: %s: %w", w.host, err)
	}
	var life context.Context
	life, w.end = context.WithCancel(context.Background())
	w.served = make(chan error, 1)
	go func(l net.Listener) { w.served <- w.witness.Serve(life, l) }(w.listener)
	return nil
}

func (w *watchtower) close() error {
	if w.witness == nil {
		if w.listener != nil {
			return w.listener.Close()
		}
		return nil
	}
	w.end()
	err := errors.Join(<-w.served, w.witness.Close(), w.log.Close())
	w.witness, w.listener = nil, nil
	return err
}

// StopWitness ends one of the three: 1, 2 or 3.
func (s *Sandbox) StopWitness(n int) error { return s.witnesses[n-1].close() }

// StartWitness starts it again on what it had written.
func (s *Sandbox) StartWitness(n int) error { return s.witnesses[n-1].open() }

// Policy is the file (C2SP tlog-policy) by which everybody in here asks for witnesses: two of the three, and one of their auditors.
func (s *Sandbox) Policy() []byte { return []byte(s.policy) }

// raise starts the witnesses and writes the policy.
func (s *Sandbox) raise() (policy *transparency.Policy, err error) {
	var names []string
	for _, w := range s.witnesses {
		if err := w.open(); err != nil {
			return nil, err
		}
		names = append(names, w.host)
		s.policy += strings.Join(w.witness.Policy(), "\n") + "\n"
	}
	s.policy += fmt.Sprintf("group seen 2 %s\ngroup audited any %s/auditor\ngroup both all seen audited\nquorum both\n",
		strings.Join(names, " "), strings.Join(names, "/auditor "))
	return transparency.ParsePolicy([]byte(s.policy))
}
