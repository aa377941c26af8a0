package modem

// Greeting is how long a modem may take for its first answers.
const Greeting = greeting
