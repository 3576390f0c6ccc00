package election_test

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/meshfence/meshfence/controller/election"
)

// A part runs while its replica leads; without a lock there is one replica, which always does.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	e, err := election.New("meshfence", nil, election.DefaultTiming(), logr.Discard())
	if err != nil {
		fmt.Println(err)
		return
	}
	e.Add(manager.RunnableFunc(func(ctx context.Context) error {
		fmt.Println("the term begins")
		stop()
		<-ctx.Done()
		fmt.Println("the term ends")
		return nil
	}))
	fmt.Println(e.Start(ctx))
	// Output:
	// the term begins
	// the term ends
	// <nil>
}
