package sequencer

// Queued is how many requests wait for the next batch.
func (s *Sequencer) Queued() int {
	s.queueMu.Lock()
	defer s.queueMu.Unlock()
	return len(s.queue)
}

// Writing says whether somebody is at it.
func (s *Sequencer) Writing() bool {
	s.queueMu.Lock()
	defer s.queueMu.Unlock()
	return s.writing
}
