package supervise

const noFollow = 0
