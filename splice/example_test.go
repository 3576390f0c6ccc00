package splice_test

import (
	"fmt"

	"github.com/meshfence/meshfence/splice"
)

// Comments, order and formatting of everything that does not change stay.
func Example() {
	text := "# mine\nspec: {replicas: 1}   # one is enough\nkind: Deployment\n"
	after, err := splice.Document([]byte(text), []byte(`{"kind": "Deployment", "spec": {"replicas": 2}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(string(after))
	// Output:
	// # mine
	// spec: {replicas: 2}   # one is enough
	// kind: Deployment
}
