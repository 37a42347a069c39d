// Command interop lets the MLS working group's interop runner test package mls against itself and against other implementations.
//
// The runner is a gRPC client; what it calls clients, and what this is, are servers. Each plays any number of members, and the runner
// carries the messages between them:
//
//	interop -listen 127.0.0.1:50001
//	interop -listen 127.0.0.1:50002
//	test-runner -client 127.0.0.1:50001 -client 127.0.0.1:50002 -config commit.json
//
// It is a module of its own, so that who uses package mls does not get gRPC.
//
// Nobody but a test may reach it: it does for everyone what a member can do, and gives away keys. It keeps everything in memory.
//
// Two things are not as the runner has them. The private keys of a key package, which it asks for to make test vectors of a run, stay
// where they are, but for the signature key. And a commit by reference names every proposal of the epoch that a member has seen or made,
// since that is what package mls does: one that would have to leave some of them out is refused.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"

	"github.com/waxwing-dm/waxwing/mls/interop/harness"
)

const maxMessage = 64 << 20 // of gRPC; a commit comes with all its proposals

func main() {
	listen := flag.String("listen", "127.0.0.1:50001", "address to serve on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, *listen); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
}

// serve until ctx is done. The first line of the output is where.
func serve(ctx context.Context, address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	s := newServer()
	g := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage), grpc.UnaryInterceptor(s.oneAtATime))
	harness.RegisterMLSClientServer(g, s)
	fmt.Println("listening on", listener.Addr())
	context.AfterFunc(ctx, g.Stop)
	if err := g.Serve(listener); !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}
