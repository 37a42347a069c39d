package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	refusalWires = 4
	refusalBurst = 32 // requests on their way on each
	refusalPeers = 16 // more than there are kinds
)

// BenchmarkRefusals is what a process computes to refuse one bad activity, of each kind by itself, and how many it answers in a second while
// whoever sends them computes on the same machine. Each kind comes from a peer of its own, which is within its budget for the first
// thousand of those that are signed well, and then turned away.
//
// On the machine of TestFloodOfAPeer, in µs, and before refusals were made cheap:
//
//	unsigned, malformed, for another host   62   61      not JSON                      57    89
//	other digest, old                       62   97      25 KB, too deep              208   374
//	not the key                            182  404      another's actor              225   314
//	unknown key                            113    -      over its budget, whatever     60   325
//
// Of the least some 50 are net/http's and the kernel's, and of a signature 70 are RSA's.
func BenchmarkRefusals(b *testing.B) {
	var peers []*peer
	for i := range refusalPeers {
		peers = append(peers, newPeer(b, fmt.Sprintf("bad%d.test", i)))
	}
	s := besiege(b, newPeer(b, "good.test"), peers...)
	for i, kind := range s.badKinds(peers[0]) {
		request := s.badKinds(peers[i])[i].wire
		b.Run(kind.name, func(b *testing.B) {
			code := s.refuse(b, request, 1) // and what has to be fetched has been
			computed, began := s.computed(), time.Now()
			last := s.refuse(b, request, b.N)
			b.ReportMetric(float64((s.computed()-computed).Microseconds())/float64(b.N), "µs-computed/op")
			b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "answers/s")
			b.ReportMetric(float64(code), "first-status")
			b.ReportMetric(float64(last), "last-status")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// refuse sends a request so many times and gives the last status.
func (b *besieged) refuse(t testing.TB, request []byte, times int) (code int) {
	var all sync.WaitGroup
	codes := make([]int, refusalWires)
	for i := range codes {
		n := times / refusalWires
		if i < times%refusalWires {
			n++
		}
		all.Go(func() {
			var err error
			if codes[i], err = b.refuseOn(request, n); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.NotZero(t, codes[0])
	return codes[0]
}

func (b *besieged) refuseOn(request []byte, times int) (code int, err error) {
	conn, err := net.Dial("tcp", b.address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	answers, burst := bufio.NewReaderSize(conn, 64<<10), bytes.Repeat(request, refusalBurst)
	for times > 0 {
		n := min(times, refusalBurst)
		if _, err := conn.Write(burst[:n*len(request)]); err != nil {
			return 0, err
		}
		times -= n
		for range n {
			if code, err = readStatus(answers); err != nil {
				return 0, err
			}
		}
	}
	return code, nil
}
