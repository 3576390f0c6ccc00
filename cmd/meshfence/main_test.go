package main

import (
	"os"
	"testing"
)

// asProgram is the variable that makes the test binary the program itself, for those that start it.
const asProgram = "MESHFENCE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}
