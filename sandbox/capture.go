package sandbox

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
)

// wiretap writes every byte that crosses the connections of a listener, in both directions, into files of one folder: what
// somebody who owns the server's network card could keep. It is how the demo knows what the servers saw.
type wiretap struct {
	net.Listener
	dir  string
	next atomic.Int64
}

func newWiretap(l net.Listener, dir string) (*wiretap, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &wiretap{Listener: l, dir: dir}, nil
}

func (w *wiretap) Accept() (net.Conn, error) {
	conn, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	name := filepath.Join(w.dir, w.Addr().(*net.TCPAddr).String()+"-"+strconv.FormatInt(w.next.Add(1), 10))
	in, err := os.OpenFile(name+".in", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		conn.Close()
		return nil, err
	}
	out, err := os.OpenFile(name+".out", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		conn.Close()
		in.Close()
		return nil, err
	}
	return &tapped{Conn: conn, in: in, out: out}, nil
}

type tapped struct {
	net.Conn
	in, out *os.File
	once    sync.Once
}

func (t *tapped) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	if n > 0 {
		if _, werr := t.in.Write(b[:n]); werr != nil {
			return n, werr // a hole in the recording would make the search below it worthless
		}
	}
	return n, err
}

func (t *tapped) Write(b []byte) (int, error) {
	if _, err := t.out.Write(b); err != nil {
		return 0, err
	}
	return t.Conn.Write(b)
}

func (t *tapped) Close() error {
	t.once.Do(func() { t.in.Close(); t.out.Close() })
	return t.Conn.Close()
}
