module bank.example/account

go 1.27
