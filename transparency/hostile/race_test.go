//go:build race

package hostile_test

// Under the race detector each step takes ten times as long, and there is nothing new to be found.
const raceDetector = true
